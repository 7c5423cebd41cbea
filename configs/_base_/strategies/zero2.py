# DeepSpeed ZeRO-2: optimizer state and gradients are sharded.
# torchrun --nproc_per_node=GPUS tools/train.py CONFIG  (or the deepspeed launcher; extra: coinkit[deepspeed])
strategy = dict(type='DeepSpeed', stage=2)
