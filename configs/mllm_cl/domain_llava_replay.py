# Replay on MLLM-CL's domain stream with LLaVA-1.5 7B: sequential LoRA and 20 rows of every old task beside each new one.
# Released recipes add rows by files made beforehand: files of 30 for the second and third task, of 20 for the fourth and
# fifth. Here rows are references drawn from the run's seed, 20 of each old task for every task.
# The files' own rows: replay_select='upstream_file', replay_files={'Med': dict(type='InstructionJson', path=...), ...}.
_base_ = ['../_base_/backbones/llava_1_5_7b_pretrain.py', '../_base_/benchmarks/mllm_cl_domain.py',
          '../_base_/schedules/mllm_cl_domain.py']
methods = [
    dict(type='FineTune', rank=128, alpha=256, dropout=0.05),
    dict(type='Replay', num_samples=20)]
