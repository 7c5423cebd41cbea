# Qwen3-VL 8B (Qwen/Qwen3-VL-8B-Instruct). Pictures keep their shape and cost one token per 32 x 32 pixels: here 256 to
# 1024 tokens each; min_pixels=None and max_pixels=None leave the checkpoint's own bounds (up to 16384 tokens).
backbone = dict(
    type='Qwen3VL',
    checkpoint='checkpoints/Qwen3-VL-8B-Instruct',
    dtype='bfloat16',
    max_length=2048,
    min_pixels=262144,
    max_pixels=1048576,
    mini=dict(type='QwenVL', checkpoint='mini', dtype='float32', max_length=512),  # the nearest one with embedded weights
)
