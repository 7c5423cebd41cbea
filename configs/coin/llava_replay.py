# Experience replay on CoIN with LLaVA-1.5 7B: sequential LoRA, and 100 rows of every old task beside each new one.
# 100 rows a task is MCITlib's number for its CoIN streams; MLLM-CL's files hold 20 or 30, Prism's buffer 180 rows in all
# (selection='reservoir', num_samples=180).
# Released recipes add rows by files made beforehand; here they are references drawn from the run's seed.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_llava.py']
methods = [
    dict(type='FineTune', rank=128, alpha=256, dropout=0.05),
    dict(type='Replay', num_samples=100)]
