# MAS on CoIN with LLaVA-1.5 7B: sequential LoRA, held where the old tasks' logits are sensitive to it.
# No author released MAS for such models: lambda 1 and 200 samples a task are our choice.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_llava.py']
methods = [
    dict(type='FineTune', rank=128, alpha=256, dropout=0.05),
    dict(type='MAS', mas_lambda=1.0, num_samples=200)]
