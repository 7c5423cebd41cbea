# EWC on the mini stream, around the same LoRA as coinkit's mini/finetune.
_base_ = 'coinkit::mini/finetune.py'
methods = [
    *_base_.methods,
    dict(type='EWC', ewc_lambda=5000.0)]
