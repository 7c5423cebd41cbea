# CoIN on MiniGPT-v2: the effective released hyper-parameters (8 GPUs, no accumulation: per-device batch x 8).
# As released: the optimiser block of MiniGPT's YAML is unused; AdamW at 1e-5 with weight decay 0.05 under DeepSpeed,
# logarithmic warm-up, then constant; clipping at 1.0.
# Mended: the loss is a mean over the labelled tokens of the global batch (loss_norm='microbatch' is the released one).
schedule = dict(
    epochs=1,
    global_batch_size=128,
    micro_batch_size=16,
    lr=1e-5,
    projector_lr=None,
    weight_decay=0.05,
    warmup_ratio=0.03,
    lr_schedule='warmup_log',
    grad_clip=1.0,
    gradient_checkpointing=True,
    per_task={
        'GQA': dict(global_batch_size=16, micro_batch_size=2),
        'Grounding': dict(global_batch_size=16, micro_batch_size=2),
        'VQAv2': dict(global_batch_size=16, micro_batch_size=2),
        'OCR-VQA': dict(global_batch_size=192, micro_batch_size=24)},
    # lr: alpha / rank is 4 here, twice LLaVA's, and the mini model's step is set by their product
    mini=dict(rank=16, lr=1e-3, steps=80, global_batch_size=16, micro_batch_size=16, gradient_checkpointing=False))
