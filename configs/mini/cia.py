# CIA on the mini stream: tasks with like instructions share an adapter, re-trained under a dynamic moving average.
_base_ = ['../_base_/backbones/llava_mini.py', '../_base_/benchmarks/mini.py', '../_base_/schedules/mini.py']
methods = [dict(type='CIA', rank=16, alpha=32, dropout=0.0, train_projector=False)]
