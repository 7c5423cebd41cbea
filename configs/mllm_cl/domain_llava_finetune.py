# Sequential LoRA on MLLM-CL's domain stream with LLaVA-1.5 7B.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/mllm_cl_domain.py',
          '../_base_/schedules/mllm_cl_domain.py']
methods = [dict(type='FineTune', rank=128, alpha=256, dropout=0.05)]
