# CoIN's mixture of LoRA experts on the mini stream.
_base_ = ['../_base_/backbones/llava_mini.py', '../_base_/benchmarks/mini.py', '../_base_/schedules/mini.py']
methods = [dict(type='MoELoRA', num_experts=4, rank=16, alpha=32, dropout=0.0, train_projector=False)]
