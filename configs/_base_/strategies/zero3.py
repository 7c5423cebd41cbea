# DeepSpeed ZeRO-3: optimizer state, gradients and all parameters, the frozen base too, are sharded.
# torchrun --nproc_per_node=GPUS tools/train.py CONFIG  (or the deepspeed launcher; extra: coinkit[deepspeed])
strategy = dict(type='DeepSpeed', stage=3)
