# CoIN on LLaVA-1.5: the effective released hyper-parameters (specified for 8 GPUs: per-device batch x 8 x accumulation 8).
# As released: the scripts ask for cosine, DeepSpeed's config overrides it with a logarithmic warm-up, then constant; the
# projector's own rate (2e-5) is ignored; clipping at 1.0. The global batch is kept, accumulation follows from the GPUs.
# Mended: the loss is a mean over the labelled tokens of the global batch (loss_norm='microbatch' is the released one).
schedule = dict(
    epochs=1,
    global_batch_size=896,
    micro_batch_size=14,
    lr=2e-4,
    projector_lr=None,
    weight_decay=0.0,
    warmup_ratio=0.03,
    lr_schedule='warmup_log',
    grad_clip=1.0,
    gradient_checkpointing=True,
    per_task={
        'ImageNet': dict(global_batch_size=1024, micro_batch_size=16),
        'GQA': dict(global_batch_size=384, micro_batch_size=6),
        'Grounding': dict(global_batch_size=384, micro_batch_size=6),
        'VQAv2': dict(global_batch_size=512, micro_batch_size=8),
        'OCR-VQA': dict(global_batch_size=640, micro_batch_size=10)},
    mini=dict(rank=16, lr=2e-3, steps=80, global_batch_size=16, micro_batch_size=16, gradient_checkpointing=False))
