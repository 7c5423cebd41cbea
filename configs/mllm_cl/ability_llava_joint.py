# All tasks of MLLM-CL's ability stream at once, with LLaVA-1.5 7B: the usual upper bound.
# LoRA on the language model and on the picture encoder, for every task; the released chain leaves the encoder out for OCR.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/mllm_cl_ability.py',
          '../_base_/schedules/mllm_cl_ability.py']
_targets = r'.*(language_model.*\.(q|k|v|o|gate|up|down)_proj|vision_tower.*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2))'
methods = [dict(type='Joint', rank=128, alpha=256, dropout=0.05, targets=_targets)]
