"""torch's fused attention is slow on the short rows of a CPU, above all backwards; the plain one is used there."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def attention_for(device: torch.device) -> AbstractContextManager[object]:
    """A context in which attention is computed."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == 'cpu' else nullcontext()
