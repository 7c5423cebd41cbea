# One LoRA tuned in sequence, held where old answers are sensitive to it.
_base_ = ['../_base_/backbones/llava_mini.py', '../_base_/benchmarks/mini.py', '../_base_/schedules/mini.py']
methods = [
    dict(type='FineTune', rank=16, alpha=32, dropout=0.0, train_projector=False),
    dict(type='MAS', mas_lambda=1.0, num_samples=200)]
