# CIA on LLaVA-1.5 7B: one adapter per group of tasks with like instructions, re-trained under a dynamic moving average.
# With the original instructions the groups are {ScienceQA} {TextVQA, GQA, VizWiz, VQAv2, OCR-VQA} {ImageNet} {Grounding}.
# For the other instruction files: llava_cia_diverse.py, llava_cia_10type.py; the threshold follows the style.
# Mended: theta* starts at theta_0, gradients and average are fp32, a missing gradient is an error, a test set below tau
# goes to the nearest group; projector and loss as in coin_llava.py. compat='lcia' switches all of it back, and
# cia_chain='released' takes the hand-wired chain of the scripts.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_refined_llava.py']
methods = [dict(type='CIA', rank=128, alpha=256, dropout=0.05)]
