"""MiniGPT-v2, native: its own picture tower and transformers' Llama under the official names."""
