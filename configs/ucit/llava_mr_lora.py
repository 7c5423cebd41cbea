# MR-LoRA on UCIT: MCITlib's LoRA for its domain stream and router (rank 32, 2e-4, 30 epochs, batch 16) on UCIT's tasks.
# MCITlib publishes router rows for UCIT (MLLM-CL/UCIT_RouterData) and no recipe; here 20 rows per task are drawn.
_base_ = ['../_base_/backbones/llava_1_5_7b.py', '../_base_/benchmarks/ucit.py', '../_base_/schedules/ucit.py']
methods = [dict(type='MRLoRA', rank=32, alpha=64, dropout=0.05, router_samples=20, router_lr=2e-4, router_epochs=30,
                router_batch_size=16, mini=dict(router_lr=2e-3, router_epochs=15, router_batch_size=8))]
