# CIA as published: CoIN-Refined, LLaVA-1.5 7B. What is mended, and how it is switched back: coin/llava_cia.py.
# Other instruction styles: --cfg-options benchmark.style=diverse (or 10type); the threshold follows.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin_refined.py',
          '../_base_/schedules/coin_refined_llava.py']
methods = [dict(type='CIA', rank=128, alpha=256, dropout=0.05)]
