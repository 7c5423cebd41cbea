# O-LoRA on CoIN with LLaVA-1.5 7B: a LoRA of rank 8 per task, orthogonal to those before (cmnfriend/O-LoRA: r 8, alpha 32,
# dropout 0.1, lambda1 0.5 and 5 for later tasks, lambda2 0 to 0.3 by task; here one value of each for all tasks).
# Other published values: MCITlib lambda1 0.05 and a total rank of 96 over 6 tasks; Prism rank 64 to 96, projector frozen.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/coin.py',
          '../_base_/schedules/coin_llava.py']
methods = [dict(type='OLoRA', rank=8, alpha=32, dropout=0.1, olora_lambda=0.5, olora_lambda2=0.0, train_projector=False)]
