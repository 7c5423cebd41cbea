# CoIN's judge from a folder, without a server: about 65 GB of GPU memory in bfloat16.
judge = dict(type='LocalTransformers', checkpoint='checkpoints/Qwen1.5-32B-Chat', dtype='bfloat16', batch_size=32)
