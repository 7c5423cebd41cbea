"""MR-LoRA: one isolated expert per task, and a router that is the model itself, asked which expert should answer."""

from __future__ import annotations

from coinkit.methods.mr_lora.method import MRLoRA

__all__ = ['MRLoRA']
