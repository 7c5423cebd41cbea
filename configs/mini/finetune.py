# One LoRA tuned on eight tasks in sequence: watch it forget.
_base_ = ['../_base_/backbones/llava_mini.py', '../_base_/benchmarks/mini.py', '../_base_/schedules/mini.py']
methods = [dict(type='FineTune', rank=16, alpha=32, dropout=0.0, train_projector=False)]
