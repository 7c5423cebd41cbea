"""MiniGPT-v2, native: its own picture tower and transformers' Llama under the official names."""

from coinkit.backbones.minigpt_v2.backbone import MiniGPTv2

__all__ = ['MiniGPTv2']
