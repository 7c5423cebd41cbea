# MoELoRA on Qwen-VL-Chat: rank 64 on the fused c_attn, attn.c_proj, w1 and w2; the visual part is frozen.
_base_ = ['../_base_/backbones/qwen_vl_chat.py', '../_base_/benchmarks/coin.py', '../_base_/schedules/coin_qwen_vl.py']
methods = [dict(type='MoELoRA', num_experts=8, rank=64, alpha=16, dropout=0.05, train_projector=False)]
evaluation = dict(max_new_tokens=30)
