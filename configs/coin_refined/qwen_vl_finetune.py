# Sequential LoRA on CoIN-Refined with Qwen-VL-Chat: rank 64 on the fused c_attn, attn.c_proj, w1 and w2.
# LCIA's paper has results for this model and no recipe: schedule and LoRA are CoIN's for it. The visual part is frozen.
_base_ = ['../_base_/backbones/qwen_vl_chat.py', '../_base_/benchmarks/coin_refined.py',
          '../_base_/schedules/coin_qwen_vl.py']
methods = [dict(type='FineTune', rank=64, alpha=16, dropout=0.05, train_projector=False)]
evaluation = dict(max_new_tokens=30)
