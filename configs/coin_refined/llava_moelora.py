# LCIA's re-run of MoELoRA on CoIN-Refined with LLaVA-1.5 7B: two experts, batches of 48 to 128.
# Released scripts of tasks 2, 4, 5, 7 and 8 start from the pretrained projector alone, not from the task before; mended.
# Other instruction styles: --cfg-options benchmark.style=diverse (or 10type).
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin_refined.py',
          '../_base_/schedules/coin_refined_moelora.py']
methods = [dict(type='MoELoRA', num_experts=2, rank=128, alpha=256, dropout=0.05)]
