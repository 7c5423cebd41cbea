"""Random numbers as a function of where the run is, so that resuming restores them by construction.

Every optimizer step and every hook call that may draw starts from a seed made of (run seed, task, phase, step, rank).
Nothing drawn before can shift what is drawn after: a run resumed at step k draws what the uninterrupted run drew.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch


def derive(*parts: Any) -> int:
    """A 63-bit seed from any printable parts; the same on every machine and in every process."""
    text = '\x1f'.join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), 'little') >> 1


def seed_everything(*parts: Any) -> np.random.Generator:
    """Seed Python, numpy and torch (all devices); returns a numpy generator of the same seed for methods to draw from."""
    seed = derive(*parts)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


def generator(*parts: Any) -> torch.Generator:
    """A torch CPU generator for initialising tensors, independent of the global one."""
    return torch.Generator().manual_seed(derive(*parts))
