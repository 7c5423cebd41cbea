# Sequential LoRA on LLaVA-1.5 13B. CoIN released no 13B script: the recipe is that of 7B.
_base_ = ['../_base_/backbones/llava_1_5_13b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_llava.py']
methods = [dict(type='FineTune', rank=128, alpha=256, dropout=0.05)]
