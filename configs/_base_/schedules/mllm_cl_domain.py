# MLLM-CL's domain stream on LLaVA-1.5: the released hyper-parameters (4 rows x accumulation 2 x 8 GPUs = 64, ZeRO-2);
# MCITlib's runs have the same batches, epochs and rate.
# Epochs are those of the sequential scripts; a task that is trained alone (MR-LoRA's expert, SingleTask) has its own in the
# benchmark: Sci 3. Cosine with 3 % warm-up, no clipping; the projector's rate is the same 2e-5.
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
    per_task={'Med': dict(epochs=3), 'Sci': dict(epochs=2)},
    mini=dict(rank=16, lr=2e-3, steps=80, global_batch_size=16, micro_batch_size=16, gradient_checkpointing=False))
