"""environment.json: what a run ran on. Written once; every later start of the same run adds a line to the ledger."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import coinkit
from coinkit.plugins import current_plugins

PACKAGES = ('torch', 'transformers', 'peft', 'deepspeed', 'flash-attn', 'mmengine-lite', 'pluggy', 'pillow', 'numpy',
            'safetensors', 'tokenizers')


def describe(config: Any, *, world_size: int) -> dict[str, Any]:
    """Versions, plug-ins with their hashes, seed, git state and hardware."""
    return {'coinkit': coinkit.__version__, 'python': platform.python_version(), 'platform': platform.platform(),
            'command': sys.argv, 'seed': config.seed, 'world_size': world_size,
            'strategy': dict(config.strategy), 'packages': versions(), 'plugins': current_plugins().provenance(),
            'git': git_state(Path(config.source).parent), 'hardware': hardware()}


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> Mapping[str, Any] | None:
    """Commit and whether files differ from it, of the repository the config lies in; None outside of one."""
    def git(*arguments: str) -> str | None:
        done = subprocess.run(['git', *arguments], cwd=folder, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        commit = git('rev-parse', 'HEAD')
    except OSError:  # no git, or no such folder
        return None
    return None if commit is None else {'commit': commit, 'changed': bool(git('status', '--porcelain'))}


def hardware() -> dict[str, Any]:
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {'cpus': os.cpu_count(), 'torch_threads': torch.get_num_threads(), 'devices': devices}
