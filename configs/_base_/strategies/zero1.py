# DeepSpeed ZeRO-1: optimizer state is sharded, gradients and parameters are whole.
# torchrun --nproc_per_node=GPUS tools/train.py CONFIG  (or the deepspeed launcher; extra: coinkit[deepspeed])
strategy = dict(type='DeepSpeed', stage=1)
