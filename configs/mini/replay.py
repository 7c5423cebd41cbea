# A hundred rows of every old task replayed beside each new one.
_base_ = ['../_base_/backbones/llava_mini.py', '../_base_/benchmarks/mini.py', '../_base_/schedules/mini.py']
methods = [
    dict(type='FineTune', rank=16, alpha=32, dropout=0.0, train_projector=False),
    dict(type='Replay', num_samples=100)]
