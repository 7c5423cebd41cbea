# One expert per task of CoIN, each from theta_0, with LLaVA-1.5 7B: the diagonal that others are measured against.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_llava.py']
methods = [dict(type='SingleTask', rank=128, alpha=256, dropout=0.05)]
