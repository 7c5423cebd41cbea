# O-LoRA on UCIT as MCITlib runs it: rank 96 in all, 16 per task, lambda1 0.05; batches of 32 from the second task on.
_base_ = ['../_base_/backbones/llava_1_5_7b.py', '../_base_/benchmarks/ucit.py', '../_base_/schedules/ucit.py']
methods = [dict(type='OLoRA', rank=16, alpha=32, dropout=0.05, olora_lambda=0.05, olora_lambda2=0.0)]
schedule = dict(per_task={name: dict(global_batch_size=32, micro_batch_size=2) for name in (
    'ArxivQA', 'VizWiz-cap', 'IconQA', 'CLEVR-Math', 'Flickr30k-cap')})
