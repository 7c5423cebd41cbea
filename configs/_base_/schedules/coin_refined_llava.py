# CIA's recipe on LLaVA-1.5 (CoIN-Refined, JingyangQiao/CoIN): per-device batch x 8 GPUs, no accumulation.
# As released: cosine with 3 % warm-up; the projector's own rate (2e-5) is honoured; no clipping; ZeRO stage 0 (the file
# named "zero1" holds stage 0), which is what strategy=dict(type='auto') does under torchrun.
# Mended: the loss is a mean over the labelled tokens of the global batch (loss_norm='microbatch' is the released one).
schedule = dict(
    epochs=1,
    global_batch_size=128,
    micro_batch_size=16,
    lr=2e-4,
    projector_lr=2e-5,
    weight_decay=0.0,
    warmup_ratio=0.03,
    lr_schedule='cosine',
    grad_clip=0.0,
    gradient_checkpointing=True,
    per_task={
        'ImageNet': dict(global_batch_size=160, micro_batch_size=20),
        'GQA': dict(global_batch_size=64, micro_batch_size=8),
        'Grounding': dict(global_batch_size=64, micro_batch_size=8),
        'VQAv2': dict(global_batch_size=80, micro_batch_size=10),
        'OCR-VQA': dict(global_batch_size=96, micro_batch_size=12)},
    mini=dict(rank=16, lr=2e-3, steps=80, global_batch_size=16, micro_batch_size=16, gradient_checkpointing=False))
