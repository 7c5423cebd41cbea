# CIA on CoIN-Refined with LLaVA-1.5 13B: published as checkpoints without a script; the recipe is that of 7B.
_base_ = ['../_base_/backbones/llava_1_5_13b_pretrain.py', '../_base_/benchmarks/coin_refined.py',
          '../_base_/schedules/coin_refined_llava.py']
methods = [dict(type='CIA', rank=128, alpha=256, dropout=0.05)]
