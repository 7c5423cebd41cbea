# Sequential LoRA on CoIN-Refined with LLaVA-1.5 7B, under CIA's schedule.
# Other instruction styles: --cfg-options benchmark.style=diverse (or 10type).
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin_refined.py',
          '../_base_/schedules/coin_refined_llava.py']
methods = [dict(type='FineTune', rank=128, alpha=256, dropout=0.05)]
