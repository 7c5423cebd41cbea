# CIA on MiniGPT-v2: CoIN's LoRA and schedule for this model; nobody published this run.
# Grounding as published for this model: answers are scored as generated, against the box on the picture itself
# (origin_answer_bbox). boxes='coin': training rows stay as the files write them; see docs/benchmarks.md, CoIN.
_base_ = ['../_base_/backbones/minigpt_v2.py', '../_base_/benchmarks/coin.py', '../_base_/schedules/coin_minigpt_v2.py']
methods = [dict(type='CIA', rank=64, alpha=256, dropout=0.05,
                mini=dict(targets=r'llama_model\.model\.layers\.\d+\..*_proj'))]  # the mini model needs all linears
benchmark = dict(per_task={'Grounding': dict(
    test=dict(needs=['origin_answer_bbox']), metric=dict(type='grounding_minigpt'),
    mini=dict(metric=dict(type='grounding_coin')))})  # the drawn rows have the square's box alone
backbone = dict(missing_image='zero', boxes='coin')  # as released: a question without a picture gets an empty one
evaluation = dict(max_new_tokens=100)
