# MoELoRA on CoIN with the 10Type instructions (one of several wordings per row): as llava_moelora.py.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_llava.py']
benchmark = dict(style='10type')
methods = [dict(type='MoELoRA', num_experts=8, rank=128, alpha=256, dropout=0.05)]
