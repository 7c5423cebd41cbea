# The untuned baseline of MLLM-CL's domain stream, which alone is asked for a single word on Med.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/mllm_cl_domain.py',
          '../_base_/schedules/mllm_cl_domain.py']
benchmark = dict(per_task={'Med': dict(test=dict(suffix=' Answer the question with a single word (or phrase).'))})
methods = [dict(type='ZeroShot')]
