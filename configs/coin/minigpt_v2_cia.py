# CIA on MiniGPT-v2: CoIN's LoRA and schedule for this model; nobody published this run.
_base_ = ['../_base_/backbones/minigpt_v2.py', '../_base_/benchmarks/coin.py', '../_base_/schedules/coin_minigpt_v2.py']
methods = [dict(type='CIA', rank=64, alpha=256, dropout=0.05,
                mini=dict(targets=r'llama_model\.model\.layers\.\d+\..*_proj'))]  # the mini model needs all linears
backbone = dict(missing_image='zero')  # as released: a question without a picture gets an empty one
evaluation = dict(max_new_tokens=100)
