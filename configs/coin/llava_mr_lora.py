# MR-LoRA on CoIN with LLaVA-1.5 7B: an isolated expert per task; the model itself, tuned on 20 records per task, is asked
# with the question which expert should answer.
# The method comes from MLLM-CL (arXiv 2506.05453; bjzhb666/MLLM-CL). Router as published: rank 128, lr 5e-6, 40 epochs of
# 20 records per task, batch 32, 16 new tokens. Experts: the method's LoRA under CoIN's schedule.
# Mended: the prompt is vicuna_v1's (upstream falls to "v0" because a flag is absent); routing is live (upstream lets every
# expert answer everything and picks afterwards). Switch back: router_parse='upstream', which draws what it cannot read.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_llava.py']
methods = [dict(type='MRLoRA', rank=128, alpha=256, dropout=0.05, router_samples=20, router_lr=5e-6, router_epochs=40,
                router_batch_size=32, mini=dict(router_lr=2e-3, router_epochs=15, router_batch_size=8))]
