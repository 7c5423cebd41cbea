# MLLM-CL's ability stream on LLaVA-1.5: the released hyper-parameters (4 rows x accumulation 2 x 8 GPUs = 64, ZeRO-2).
# Epochs and rate are those of the sequential scripts; tasks that are trained alone have their own rate in the benchmark: OCR
# 5e-6, VP 1e-5. Cosine with 3 % warm-up, no clipping.
# Mended: the loss is a mean over the labelled tokens of the global batch (loss_norm='microbatch' is the released one).
schedule = dict(
    epochs=1,
    global_batch_size=64,
    micro_batch_size=4,
    lr=2e-5,
    projector_lr=None,
    weight_decay=0.0,
    warmup_ratio=0.03,
    lr_schedule='cosine',
    grad_clip=0.0,
    gradient_checkpointing=True,
    per_task={'OCR': dict(epochs=3), 'APP': dict(epochs=3)},
    mini=dict(rank=16, lr=2e-3, steps=80, global_batch_size=16, micro_batch_size=16, gradient_checkpointing=False))
