# Data parallel, one process per GPU: torchrun --nproc_per_node=GPUS tools/train.py CONFIG
strategy = dict(type='DDP')
