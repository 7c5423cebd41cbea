# O-LoRA on MLLM-CL's domain stream as MCITlib runs it: rank 160 in all, 32 per task; batches of 32 from the second task on.
# lambda1 0.05 is that of its runs on UCIT (ucit/llava_olora.py).
# Unlike MLLM-CL's own runs (domain_llava_*.py) it starts from the instruction-tuned model and asks for one word on Med;
# its batches, epochs and rate are the same. Warm-up, clipping and the projector's rate are not confirmed: MLLM-CL's own.
_base_ = ['../_base_/backbones/llava_1_5_7b.py', '../_base_/benchmarks/mllm_cl_domain.py',
          '../_base_/schedules/mllm_cl_domain.py']
benchmark = dict(per_task={'Med': dict(test=dict(suffix=' Answer the question with a single word (or phrase).'))})
methods = [dict(type='OLoRA', rank=32, alpha=64, dropout=0.05, olora_lambda=0.05, olora_lambda2=0.0)]
schedule = dict(per_task={name: dict(global_batch_size=32, micro_batch_size=2) for name in ('Med', 'AD', 'Sci', 'Fin')})
