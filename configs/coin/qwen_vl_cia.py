# CIA on Qwen-VL-Chat. LCIA's paper has results for it and no script: here CoIN's schedule and LoRA for this model.
_base_ = ['../_base_/backbones/qwen_vl_chat.py', '../_base_/benchmarks/coin.py', '../_base_/schedules/coin_qwen_vl.py']
methods = [dict(type='CIA', rank=64, alpha=16, dropout=0.05, train_projector=False)]
evaluation = dict(max_new_tokens=30)
