# A new LoRA for every task, orthogonal to those of the tasks before.
_base_ = ['../_base_/backbones/llava_mini.py', '../_base_/benchmarks/mini.py', '../_base_/schedules/mini.py']
methods = [dict(type='OLoRA', rank=16, alpha=32, dropout=0.0, train_projector=False, olora_lambda=0.5)]
