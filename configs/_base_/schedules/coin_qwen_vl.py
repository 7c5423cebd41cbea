# CoIN on Qwen-VL-Chat: the effective released hyper-parameters (8 GPUs, 5 rows each, no accumulation: 40 for every task).
# As released: AdamW with beta2 0.95 and weight decay 0.1; cosine asked for, DeepSpeed's config overrides it with a
# logarithmic warm-up, then constant; clipping at 1.0; greedy answers of at most 30 tokens (the run files say so).
# Mended: the loss is a mean over the labelled tokens of the global batch (loss_norm='microbatch' is the released one).
schedule = dict(
    epochs=1,
    global_batch_size=40,
    micro_batch_size=5,
    lr=1e-5,
    projector_lr=None,
    weight_decay=0.1,
    betas=(0.9, 0.95),
    warmup_ratio=0.01,
    lr_schedule='warmup_log',
    grad_clip=1.0,
    gradient_checkpointing=True,
    # lr: alpha / rank is 1/4 here, an eighth of LLaVA's, and the mini model's step is set by their product
    mini=dict(rank=16, lr=1e-2, steps=80, global_batch_size=16, micro_batch_size=16, gradient_checkpointing=False))
