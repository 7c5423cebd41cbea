# LCIA's re-run of MoELoRA (two experts) on LLaVA-1.5 (CoIN-Refined): per-device batch x 8 GPUs, no accumulation.
# As released: cosine is asked for, DeepSpeed's config (ZeRO-3, offload) overrides it with a logarithmic warm-up, then
# constant; the projector's own rate (2e-5) is ignored; clipping at 1.0.
# Mended: the loss is a mean over the labelled tokens of the global batch (loss_norm='microbatch' is the released one).
schedule = dict(
    epochs=1,
    global_batch_size=96,
    micro_batch_size=12,
    lr=2e-4,
    projector_lr=None,
    weight_decay=0.0,
    warmup_ratio=0.03,
    lr_schedule='warmup_log',
    grad_clip=1.0,
    gradient_checkpointing=True,
    per_task={
        'ImageNet': dict(global_batch_size=128, micro_batch_size=16),
        'GQA': dict(global_batch_size=48, micro_batch_size=6),
        'Grounding': dict(global_batch_size=48, micro_batch_size=6),
        'VQAv2': dict(global_batch_size=48, micro_batch_size=6),
        'OCR-VQA': dict(global_batch_size=64, micro_batch_size=8)},
    mini=dict(rank=16, lr=2e-3, steps=80, global_batch_size=16, micro_batch_size=16, gradient_checkpointing=False))
