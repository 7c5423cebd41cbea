# CIA on LLaVA-1.5 7B: one adapter per group of tasks with like instructions, re-trained under a dynamic moving average.
# With the original instructions the groups are {ScienceQA} {TextVQA, GQA, VizWiz, VQAv2, OCR-VQA} {ImageNet} {Grounding}.
# For the diverse or the ten-type instruction files: benchmark paths of those files, and style='diverse' or '10type'.
# Mended: theta* starts at theta_0, gradients and average are fp32, a missing gradient is an error. The released program:
#   ema_init='after_first_step', ema_missing_grad='upstream', ema_grad='upstream', ema_dtype='param', test_miss='upstream',
#   group_empty='error', cia_chain='released'; projector and loss by compat='lcia'.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_refined_llava.py']
methods = [dict(type='CIA', rank=128, alpha=256, dropout=0.05, style='original')]
