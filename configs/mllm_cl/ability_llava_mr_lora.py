# MR-LoRA on MLLM-CL's ability stream with LLaVA-1.5 7B, as published: experts with LoRA on the picture encoder too, each
# under its own rate; 35 epochs of the router. What is mended, and how it is switched back: coin/llava_mr_lora.py.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/mllm_cl_ability.py',
          '../_base_/schedules/mllm_cl_ability.py']
methods = [dict(type='MRLoRA', rank=128, alpha=256, dropout=0.05, vision_lora=True, router_samples=20, router_lr=5e-6,
                router_epochs=35, router_batch_size=32,
                mini=dict(router_lr=2e-3, router_epochs=15, router_batch_size=8))]
