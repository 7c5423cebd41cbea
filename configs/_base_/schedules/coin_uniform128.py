# CoIN on LLaVA-1.5 with one global batch, 128, for every task instead of the released 384 to 1024, which were chosen for
# GPUs of 24 GB. All else as in coin_llava.py.
schedule = dict(
    epochs=1,
    global_batch_size=128,
    micro_batch_size=16,
    lr=2e-4,
    projector_lr=None,
    weight_decay=0.0,
    warmup_ratio=0.03,
    lr_schedule='warmup_log',
    grad_clip=1.0,
    gradient_checkpointing=True,
    mini=dict(rank=16, lr=2e-3, steps=80, global_batch_size=16, micro_batch_size=16, gradient_checkpointing=False))
