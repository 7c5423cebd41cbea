"""What the launcher told this process, and the few collectives coinkit needs.

`torchrun` and the `deepspeed` launcher both describe a process by environment variables; everything else here is a thin
layer over `torch.distributed` that is the identity in one process. Objects travel as JSON bytes, never pickled: an
`all_gather_object` would unpickle what other processes send.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from coinkit.errors import ConfigError, Problem

VARIABLES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')


@dataclass(frozen=True)
class Launch:
    """This process among those of the run."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Launch:
        """Read the launcher's variables; one process where there are none."""
        environ = os.environ if environ is None else environ
        rank, world_size, local_rank = (_integer(environ, name, default)
                                        for name, default in (('RANK', 0), ('WORLD_SIZE', 1), ('LOCAL_RANK', 0)))
        return cls(rank, world_size, local_rank)


def _integer(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, str(default))
    if not text.strip().isdigit():
        raise ConfigError(Problem('environment', f'{name} is {text!r}; a launcher sets it to a whole number.',
                                  'Start the run with torchrun, or unset it.'))
    return int(text)


def launch_problems(strategy: str, environ: Mapping[str, str] | None = None) -> list[Problem]:
    """Why `strategy` cannot find its other processes: the variables no launcher has set."""
    environ = os.environ if environ is None else environ
    missing = [name for name in VARIABLES if name not in environ]
    if not missing:
        return []
    launchers = 'torchrun or deepspeed' if strategy == 'DeepSpeed' else 'torchrun'
    return [Problem('config: strategy', f"type='{strategy}' needs processes started by {launchers}, and "
                    f'{", ".join(missing)} {"is" if len(missing) == 1 else "are"} not set.',
                    'Run `torchrun --nproc_per_node=GPUS tools/train.py CONFIG`, '
                    "or set strategy=dict(type='OneDevice').")]


def choose_device(device: str, local_rank: int) -> torch.device:
    """`auto` is the GPU of this local rank where there is one; 'cuda' without a usable GPU is an error."""
    if device not in ('auto', 'cpu', 'cuda'):
        raise ConfigError(Problem('config: device', f"given {device!r}; allowed: 'auto', 'cpu', 'cuda'."))
    available = torch.cuda.is_available()
    if device == 'cpu' or (device == 'auto' and not available):
        return torch.device('cpu')
    count = torch.cuda.device_count() if available else 0
    if local_rank >= count:
        raise ConfigError(Problem('config: device', f'process {local_rank} of this machine needs GPU {local_rank}, and '
                                  f'{count} can be used.', "Start no more processes than GPUs, or set device='cpu'."))
    return torch.device('cuda', local_rank)


def start_process_group(device: torch.device, *, timeout_minutes: float) -> None:
    """Join the other processes: nccl between GPUs, gloo between CPUs."""
    if dist.is_initialized():
        return
    timeout = timedelta(minutes=timeout_minutes)
    if device.type == 'cuda':
        torch.cuda.set_device(device)
        dist.init_process_group('nccl', timeout=timeout, device_id=device)
    else:
        dist.init_process_group('gloo', timeout=timeout)


def stop_process_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def gather_json(obj: Any, device: torch.device) -> list[Any]:
    """Every rank's JSON-able object, in rank order, on every rank."""
    if not dist.is_initialized():
        return [json.loads(json.dumps(obj))]
    data = torch.frombuffer(bytearray(json.dumps(obj).encode()), dtype=torch.uint8).to(device)
    size = torch.tensor([data.numel()], dtype=torch.int64, device=device)
    sizes = [torch.zeros_like(size) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, size)
    longest = int(torch.cat(sizes).max())
    padded = torch.zeros(longest, dtype=torch.uint8, device=device)
    padded[:data.numel()] = data
    buffers = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(buffers, padded)
    return [json.loads(bytes(buffer[:int(n)].cpu().numpy())) for buffer, n in zip(buffers, sizes, strict=True)]


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum over ranks, in place."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def broadcast(tensor: Tensor, source: int = 0) -> Tensor:
    """The value `source` holds, in place."""
    if dist.is_initialized():
        dist.broadcast(tensor, source)
    return tensor


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()
