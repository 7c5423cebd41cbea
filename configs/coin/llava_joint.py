# All tasks of CoIN at once, with LLaVA-1.5 7B: the usual upper bound.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_llava.py']
methods = [dict(type='Joint', rank=128, alpha=256, dropout=0.05)]
