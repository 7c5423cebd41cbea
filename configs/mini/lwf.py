# One LoRA tuned in sequence, distilled from itself as it was before each task.
_base_ = ['../_base_/backbones/llava_mini.py', '../_base_/benchmarks/mini.py', '../_base_/schedules/mini.py']
methods = [
    dict(type='FineTune', rank=16, alpha=32, dropout=0.0, train_projector=False),
    dict(type='LwF', lwf_lambda=1.0, temperature=2.0)]
