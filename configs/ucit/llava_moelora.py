# MoELoRA on UCIT as MCITlib runs it: six experts of rank 3.
_base_ = ['../_base_/backbones/llava_1_5_7b.py', '../_base_/benchmarks/ucit.py', '../_base_/schedules/ucit.py']
methods = [dict(type='MoELoRA', num_experts=6, rank=18, alpha=36, dropout=0.05, mini=dict(rank=18))]  # six divide 18
