# Eight isolated experts, and the model itself as the router between them (MR-LoRA).
_base_ = ['../_base_/backbones/llava_mini.py', '../_base_/benchmarks/mini.py', '../_base_/schedules/mini.py']
methods = [dict(type='MRLoRA', rank=16, alpha=32, dropout=0.0, train_projector=False, router_samples=20, router_lr=2e-3,
                router_epochs=15, router_batch_size=8)]
