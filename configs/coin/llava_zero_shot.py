# The untuned baseline of CoIN's tables: Vicuna 7B and the pretrained projector, never tuned on instructions with pictures.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_llava.py']
methods = [dict(type='ZeroShot')]
