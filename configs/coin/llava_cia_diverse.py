# CIA on CoIN with the diverse instructions: as llava_cia.py, with the threshold of that style (0.3).
# Groups: {ScienceQA} {TextVQA, VizWiz} {ImageNet} {GQA, VQAv2, OCR-VQA} {Grounding}.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_refined_llava.py']
benchmark = dict(style='diverse')
methods = [dict(type='CIA', rank=128, alpha=256, dropout=0.05)]
