# LwF on CoIN with LLaVA-1.5 7B: sequential LoRA, distilled from the model before each task at the supervised tokens.
# Tables for CoIN report LwF (7B: ACC 33.31) and no author released it: lambda 1 and temperature 2 are our choice.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_llava.py']
methods = [
    dict(type='FineTune', rank=128, alpha=256, dropout=0.05),
    dict(type='LwF', lwf_lambda=1.0, temperature=2.0)]
