# CIA on CoIN with the 10Type instructions: as llava_cia.py, with the threshold of that style (0.3).
# Groups: {ScienceQA} {TextVQA, GQA, VizWiz, VQAv2, OCR-VQA} {ImageNet} {Grounding}.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_refined_llava.py']
benchmark = dict(style='10type')
methods = [dict(type='CIA', rank=128, alpha=256, dropout=0.05)]
