# 80 steps of 16 a task: about fifteen seconds of training on two cores.
schedule = dict(
    steps=80,
    global_batch_size=16,
    micro_batch_size=16,
    lr=2e-3,
    lr_schedule='cosine',
    warmup_ratio=0.03,
    grad_clip=1.0)
checkpoint = dict(every_steps=20)  # a killed demo loses seconds
