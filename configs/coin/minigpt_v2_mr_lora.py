# MR-LoRA on MiniGPT-v2: CoIN's LoRA and schedule for this model, router as published for LLaVA (llava_mr_lora.py).
# Grounding as published for this model: answers are scored as generated, against the box on the picture itself
# (origin_answer_bbox). boxes='coin': training rows stay as the files write them; see docs/benchmarks.md, CoIN.
_base_ = ['../_base_/backbones/minigpt_v2.py', '../_base_/benchmarks/coin.py', '../_base_/schedules/coin_minigpt_v2.py']
methods = [dict(type='MRLoRA', rank=64, alpha=256, dropout=0.05, router_samples=20, router_lr=5e-6, router_epochs=40,
                router_batch_size=32, mini=dict(router_lr=2e-3, router_epochs=15, router_batch_size=8,
                                                targets=r'llama_model\.model\.layers\.\d+\..*_proj'))]
benchmark = dict(per_task={'Grounding': dict(
    test=dict(needs=['origin_answer_bbox']), metric=dict(type='grounding_minigpt'),
    mini=dict(metric=dict(type='grounding_coin')))})  # the drawn rows have the square's box alone
backbone = dict(missing_image='zero', boxes='coin')  # as released: a question without a picture gets an empty one
evaluation = dict(max_new_tokens=100)
