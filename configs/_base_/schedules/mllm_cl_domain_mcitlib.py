# MLLM-CL's domain stream on LLaVA-1.5 7B as MCITlib runs it: 4 rows x accumulation 2 x 8 GPUs = 64, 2e-5, one epoch, but
# three of Med and two of Sci. What its scripts say of the rest is not confirmed: cosine with 3 % warm-up, weight decay 0, no
# clipping and one rate for LoRA and projector are those of MLLM-CL's own scripts (mllm_cl_domain.py).
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
