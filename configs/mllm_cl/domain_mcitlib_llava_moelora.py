# MoELoRA on MLLM-CL's domain stream as MCITlib runs it: five experts of rank 7, alpha 70.
# Unlike MLLM-CL's own runs (domain_llava_*.py) it starts from the instruction-tuned model and asks for one word on Med;
# its batches, epochs and rate are the same. Warm-up, clipping and the projector's rate are not confirmed: MLLM-CL's own.
_base_ = ['../_base_/backbones/llava_1_5_7b.py', '../_base_/benchmarks/mllm_cl_domain.py',
          '../_base_/schedules/mllm_cl_domain.py']
benchmark = dict(per_task={'Med': dict(test=dict(suffix=' Answer the question with a single word (or phrase).'))})
methods = [dict(type='MoELoRA', num_experts=5, rank=35, alpha=70, dropout=0.05, mini=dict(rank=20))]  # five divide 20
