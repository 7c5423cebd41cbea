# MR-LoRA on MLLM-CL's domain stream with LLaVA-1.5 7B, as published: an isolated expert per task, and the model itself,
# tuned on 20 rows per task, as the router. What is mended, and how it is switched back: coin/llava_mr_lora.py.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/mllm_cl_domain.py',
          '../_base_/schedules/mllm_cl_domain.py']
methods = [dict(type='MRLoRA', rank=128, alpha=256, dropout=0.05, router_samples=20, router_lr=5e-6, router_epochs=40,
                router_batch_size=32,
                mini=dict(router_lr=2e-3, router_epochs=15, router_batch_size=8))]
