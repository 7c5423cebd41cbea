# MR-LoRA on Qwen-VL-Chat: CoIN's LoRA and schedule for this model, router as published for LLaVA (llava_mr_lora.py).
_base_ = ['../_base_/backbones/qwen_vl_chat.py', '../_base_/benchmarks/coin.py', '../_base_/schedules/coin_qwen_vl.py']
methods = [dict(type='MRLoRA', rank=64, alpha=16, dropout=0.05, train_projector=False, router_samples=20, router_lr=5e-6,
                router_epochs=40, router_batch_size=32, mini=dict(router_lr=2e-3, router_epochs=15, router_batch_size=8))]
evaluation = dict(max_new_tokens=30)
