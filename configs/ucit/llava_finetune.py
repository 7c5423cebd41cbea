# Sequential LoRA on UCIT with LLaVA-1.5 7B (instruction-tuned), as MCITlib runs it: rank 16, global batch 64.
_base_ = ['../_base_/backbones/llava_1_5_7b.py', '../_base_/benchmarks/ucit.py', '../_base_/schedules/ucit.py']
methods = [dict(type='FineTune', rank=16, alpha=32, dropout=0.05)]
