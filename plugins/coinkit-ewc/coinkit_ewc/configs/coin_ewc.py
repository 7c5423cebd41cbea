# EWC on CoIN with LLaVA-1.5 7B, around the same LoRA as coinkit's coin/llava_finetune.
_base_ = 'coinkit::coin/llava_finetune.py'
methods = [
    *_base_.methods,
    dict(type='EWC', ewc_lambda=5000.0, num_samples=200)]
