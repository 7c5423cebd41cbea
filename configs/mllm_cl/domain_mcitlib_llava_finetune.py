# Sequential LoRA on MLLM-CL's domain stream as MCITlib runs it: rank 32, alpha 64.
# Unlike MLLM-CL's own runs (domain_llava_*.py) it starts from the instruction-tuned model and asks for one word on Med;
# its batches, epochs and rate are the same. Warm-up, clipping and the projector's rate are not confirmed: MLLM-CL's own.
_base_ = ['../_base_/backbones/llava_1_5_7b.py', '../_base_/benchmarks/mllm_cl_domain.py',
          '../_base_/schedules/mllm_cl_domain.py']
benchmark = dict(per_task={'Med': dict(test=dict(suffix=' Answer the question with a single word (or phrase).'))})
methods = [dict(type='FineTune', rank=32, alpha=64, dropout=0.05)]
