"""DeepSpeed ZeRO stages 0 to 3 behind the common interface.

DeepSpeed runs in fp32 mode, without its bf16 and fp16 engines: trainable tensors are fp32, the frozen base keeps its
dtype, and the model casts in its forward. Rates, loss scale and clipping are ours to set; the averages over ranks and
micro-batches that DeepSpeed takes are undone, so that a gradient is a sum as in every strategy.

Stages 2 and 3 reduce gradients in the order they appear, rank by rank: each micro-batch of every rank must use the same
trainable parameters (an empty one still runs the whole forward). Stage 3 also gathers weights module by module, so
outside the forward a parameter's own tensor is empty: read it by `full_params`, and penalise it through `set_grads`.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from coinkit.engine.processes import launch_problems
from coinkit.engine.strategies.base import OptimizerFactory, OptimizerState
from coinkit.engine.strategies.ddp import DDP
from coinkit.engine.strategies.one_device import clip, load_plain_state, plain_state, raise_missing, set_lrs
from coinkit.engine.strategies.plain_module import PlainForm, forget, full_values
from coinkit.engine.strategies.touched import Touched
from coinkit.engine.strategies.zero_shards import PartitionedOptimizer, PartitionedParameters, Shards
from coinkit.errors import Problem, RunError

OWN_KEYS = ('train_batch_size', 'train_micro_batch_size_per_gpu', 'gradient_accumulation_steps', 'gradient_clipping',
            'optimizer', 'scheduler', 'bf16', 'fp16', 'torch_autocast', 'gradient_allreduce_op', 'data_types')
REDUCE_BUCKET = 50_000_000  # elements; DeepSpeed's 5e8 takes 2 GB before the first gradient


class DeepSpeed(DDP):
    """DeepSpeed's ZeRO: optimizer state, gradients or parameters sharded over the processes.

    `stage` shards 0 nothing, 1 optimizer state, 2 also gradients, 3 also parameters (the frozen base too).

    `offload_optimizer` and `offload_params` (stage 3) keep the shards in CPU memory. `config` adds DeepSpeed's own
    options, merged over ours; what the schedule decides (batch, clipping, precision, optimizer) is refused there.
    """

    def __init__(self, *, stage: int = 2, offload_optimizer: bool = False, offload_params: bool = False,
                 config: dict[str, Any] | None = None, device: str = 'auto', timeout_minutes: float = 120.0):
        super().__init__(device=device, timeout_minutes=timeout_minutes)
        self.stage, self.extra = stage, dict(config or {})
        self.offload_optimizer, self.offload_params = offload_optimizer, offload_params
        self._shards: Shards | None = None

    @classmethod
    def preflight(cls, *, stage: int = 2, offload_optimizer: bool = False, offload_params: bool = False,
                  config: dict[str, Any] | None = None, **_: Any) -> list[Problem]:
        """Arguments, the package and the launcher's variables."""
        problems = _argument_problems(stage, offload_optimizer, offload_params, config or {})
        if importlib.util.find_spec('deepspeed') is None:
            problems.append(Problem('config: strategy', "type='DeepSpeed' needs the deepspeed package, which is not "
                                    'installed.', 'Run `DS_BUILD_OPS=0 pip install coinkit[deepspeed]`.'))
        return problems + launch_problems('DeepSpeed')

    def _problems(self) -> list[Problem]:
        return self.preflight(stage=self.stage, offload_optimizer=self.offload_optimizer,
                              offload_params=self.offload_params, config=self.extra)

    def setup(self) -> None:
        super().setup()
        _import_deepspeed(self.device)

    def prepare(self, module: nn.Module, optimizer_factory: OptimizerFactory, param_groups: list[dict[str, Any]], *,
                accumulation: int, grad_clip: float) -> None:
        import deepspeed

        groups = self._take(module, param_groups, accumulation, grad_clip)
        module.to(self.device)
        self._plain = PlainForm(module)
        self._touched = Touched(self._parameters, self.device)
        self._expected: frozenset[str] | None = None
        self._engine, self.optimizer, _, _ = deepspeed.initialize(
            model=module, optimizer=optimizer_factory(groups), config=self._config(), dist_init_required=False)
        self._shards = self._make_shards()
        self._start_step()

    def _config(self) -> dict[str, Any]:
        numel = sum(parameter.numel() for parameter in self._parameters.values())
        zero: dict[str, Any] = {'stage': self.stage, 'reduce_bucket_size': min(REDUCE_BUCKET, numel)}
        if self.offload_optimizer:
            zero['offload_optimizer'] = {'device': 'cpu', 'pin_memory': self.device.type == 'cuda'}
        if self.offload_params:
            zero['offload_param'] = {'device': 'cpu', 'pin_memory': self.device.type == 'cuda'}
        own = {'train_micro_batch_size_per_gpu': 1, 'gradient_accumulation_steps': self.accumulation,
               'gradient_clipping': self.grad_clip if self.stage else 0.0, 'zero_allow_untested_optimizer': True,
               'zero_force_ds_cpu_optimizer': False, 'wall_clock_breakdown': False, 'steps_per_print': 2**62,
               'zero_optimization': zero}
        return _merged(own, self.extra)

    def _make_shards(self) -> Shards | None:
        if self.stage == 0:
            return None
        return (PartitionedParameters if self.stage == 3 else PartitionedOptimizer)(self.optimizer, self.device)

    def release(self) -> None:
        module = self._module
        if self._shards is not None:
            self._shards.state.clear()  # make room before stage 3 gathers the model
        values = full_values(module)
        self._touched.remove()
        self._engine.destroy()
        self._plain.restore(values)
        forget(module)
        self._engine = self._shards = self._plain = self._touched = None
        self._drop()
        gc.collect()  # engine and hooks refer to each other; their memory must be free before the next phase

    def _abandon(self) -> None:
        self._engine.destroy()
        super()._abandon()

    # --- one step -----------------------------------------------------------------------------------------------

    def _start_step(self) -> None:
        self._touched.clear()
        if self.stage == 1:  # ranks must reduce the same list: stage 1 leaves out what has no gradient
            for parameter in self._parameters.values():
                parameter.grad = torch.zeros_like(parameter)

    def forward(self, batch: Any) -> Any:
        self._engine.set_gradient_accumulation_boundary(False)  # `backward` knows; forward hooks must not guess
        return self._engine(batch)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        self._engine.set_gradient_accumulation_boundary(last)
        self._touched.begin()
        if not loss.requires_grad:
            raise RunError('The loss of a micro-batch depends on no trainable parameter: with DeepSpeed also a batch '
                           'without labels must run the whole forward.')
        self._engine.backward(loss * self.world_size, scale_wrt_gas=False)
        if self.stage >= 2:
            self._check_same_parameters()
        if last:
            self._touched.reduce()

    def _check_same_parameters(self) -> None:
        """ZeRO-2/3 pair gradients by order of arrival, so a parameter left out once would corrupt the others."""
        now = self._touched.in_this_backward()
        if self._expected is None:
            self._expected = now
            if self.any_rank(any(names != sorted(now) for names in self.gather_json(sorted(now)))):
                raise RunError(f'ZeRO-{self.stage}: ranks used different trainable parameters in one micro-batch. '
                               'Use stage=1 or DDP, or let every batch run the whole forward.')
        if now != self._expected:
            names = ', '.join(sorted(now ^ self._expected)[:5])
            raise RunError(f'ZeRO-{self.stage}: every micro-batch must use the same trainable parameters; this one '
                           f'differs in {names}. Use stage=1 or DDP, or let every batch run the whole forward.')

    def step(self, lrs: Sequence[float]) -> Tensor:
        set_lrs(self.optimizer, lrs)
        norm = clip(self._parameters.values(), self.grad_clip) if self.stage == 0 else None
        self._engine.step()
        self._start_step()
        if norm is None:
            norm = torch.as_tensor(self._engine.get_global_grad_norm(), dtype=torch.float32, device=self.device)
        return norm

    def grads(self, names: Iterable[str] | None = None, *, copy: bool = True) -> dict[str, Tensor]:
        if self._shards is None:
            return super().grads(names, copy=copy)
        parameters = self._select(names)
        raise_missing(self.missing_grads(parameters))
        return self._shards.grads(parameters)

    def missing_grads(self, names: Iterable[str] | None = None) -> list[str]:
        return self._touched.missing(list(self._select(names)))

    def set_grads(self, grads: Mapping[str, Tensor]) -> None:
        pairs = self._checked(grads)
        raise_missing(() if self._touched.ready else grads)
        for parameter, value in pairs:
            parameter.grad.copy_(value) if self._shards is None else self._shards.set_grad(parameter, value)

    # --- values and state ---------------------------------------------------------------------------------------

    @torch.no_grad()
    def full_params(self, names: Iterable[str] | None = None, *, copy: bool = True) -> dict[str, Tensor]:
        return self._shards.values(self._select(names)) if self.stage == 3 else super().full_params(names, copy=copy)

    @torch.no_grad()
    def set_full_params(self, values: Mapping[str, Tensor]) -> None:
        for parameter, value in self._checked(values):
            parameter.copy_(value) if self._shards is None else self._shards.set_value(parameter, value)

    @torch.no_grad()
    def optimizer_state(self, *, to_rank0: bool = False) -> dict[str, dict[str, Tensor]]:
        keep = self.is_main or not to_rank0
        if self._shards is None:
            return plain_state(self.optimizer, self._parameters) if keep else {}
        return self._shards.optimizer_state(self._parameters, keep=keep)

    @torch.no_grad()
    def load_optimizer_state(self, state: OptimizerState) -> None:
        self._check_state(state)
        if self._shards is None:
            load_plain_state(self.optimizer, self._parameters, state)
        else:
            self._shards.load_optimizer_state(self._parameters, state)


def _import_deepspeed(device: torch.device) -> None:
    """DeepSpeed chooses its accelerator when it is imported, and would compile a shared-memory collective on CPU."""
    if device.type == 'cpu':
        os.environ.setdefault('DS_ACCELERATOR', 'cpu')
    import deepspeed

    if device.type == 'cpu':  # 25 s of g++ at first use, for a kernel that gloo replaces
        deepspeed.ops.__compatible_ops__['deepspeed_shm_comm'] = False
    warnings.filterwarnings('ignore', message=r'`torch.distributed.*is deprecated', category=FutureWarning)
    deepspeed.init_distributed(dist_backend='gloo' if device.type == 'cpu' else 'nccl', verbose=False)


def _merged(own: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(own)
    for key, value in extra.items():
        merged[key] = _merged(merged[key], value) if isinstance(merged.get(key), dict) else value
    return merged


def _argument_problems(stage: int, offload_optimizer: bool, offload_params: bool, extra: Mapping[str, Any],
                       ) -> list[Problem]:
    where = 'config: strategy'
    problems = []
    if stage not in (0, 1, 2, 3):
        problems.append(Problem(f'{where}.stage', f'given {stage!r}; allowed: 0, 1, 2, 3.'))
    if offload_optimizer and stage == 0:
        problems.append(Problem(f'{where}.offload_optimizer', 'needs stage 1, 2 or 3; stage 0 shards nothing.'))
    if offload_params and stage != 3:
        problems.append(Problem(f'{where}.offload_params', f'needs stage=3, given stage={stage}.'))
    for key in OWN_KEYS:
        if key in extra:
            problems.append(Problem(f'{where}.config.{key}', 'is set by coinkit from the schedule.', 'Remove it here.'))
    if 'stage' in extra.get('zero_optimization', {}):
        problems.append(Problem(f'{where}.config.zero_optimization.stage', 'is the strategy argument `stage`.'))
    return problems
