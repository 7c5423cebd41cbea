# All tasks of MLLM-CL's domain stream at once, with LLaVA-1.5 7B: the usual upper bound.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/mllm_cl_domain.py',
          '../_base_/schedules/mllm_cl_domain.py']
methods = [dict(type='Joint', rank=128, alpha=256, dropout=0.05)]
