# CoIN's own method on LLaVA-1.5 7B: a mixture of eight LoRA experts per linear, tuned on eight tasks in sequence.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_llava.py']
methods = [dict(type='MoELoRA', num_experts=8, rank=128, alpha=256, dropout=0.05)]
