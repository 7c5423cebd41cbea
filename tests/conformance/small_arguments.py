"""What the methods of small runs need beside their defaults."""

from __future__ import annotations

from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {  # what small runs need beside the defaults
    'DynamicEMA': dict(ema_when='always'),  # without a method that makes groups
    'MAS': dict(num_samples=2), 'MoELoRA': dict(num_experts=2),
    'MRLoRA': dict(router_samples=2, router_steps=2, router_batch_size=2)}
