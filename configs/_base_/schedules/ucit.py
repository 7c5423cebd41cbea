# UCIT on LLaVA-1.5 7B as MCITlib runs it: 4 rows x accumulation 2 x 8 GPUs = 64, one epoch, 2e-4, cosine with 3 % warm-up.
# UCIT's maintainers ask to keep the global batch of 64. HiDe's own scripts: 24 x 8 = 192.
# The projector's rate is that of the scripts' flag (2e-5); weight decay 0, no clipping, as in their ZeRO-2 file.
# Mended: the loss is a mean over the labelled tokens of the global batch (loss_norm='microbatch' is the released one).
schedule = dict(
    epochs=1,
    global_batch_size=64,
    micro_batch_size=4,
    lr=2e-4,
    projector_lr=2e-5,
    weight_decay=0.0,
    warmup_ratio=0.03,
    lr_schedule='cosine',
    grad_clip=0.0,
    gradient_checkpointing=True,
    mini=dict(rank=16, lr=2e-3, steps=80, global_batch_size=16, micro_batch_size=16, gradient_checkpointing=False))
