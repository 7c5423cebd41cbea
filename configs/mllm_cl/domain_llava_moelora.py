# MoELoRA on MLLM-CL's domain stream with LLaVA-1.5 7B. Eight experts and rank 128 are coinkit's choice, not published: the
# experts of CoIN's MoELoRA at the rank of MLLM-CL's LoRA. A published recipe: domain_mcitlib_llava_moelora.py.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/mllm_cl_domain.py',
          '../_base_/schedules/mllm_cl_domain.py']
methods = [dict(type='MoELoRA', num_experts=8, rank=128, alpha=256, dropout=0.05)]
