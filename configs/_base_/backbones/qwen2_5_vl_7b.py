# Qwen2.5-VL 7B (Qwen/Qwen2.5-VL-7B-Instruct). Pictures keep their shape and cost one token per 28 x 28 pixels: here 256 to
# 1024 tokens each; min_pixels=None and max_pixels=None leave the checkpoint's own bounds (up to 16384 tokens).
backbone = dict(
    type='Qwen25VL',
    checkpoint='checkpoints/Qwen2.5-VL-7B-Instruct',
    dtype='bfloat16',
    max_length=2048,
    min_pixels=200704,
    max_pixels=802816,
    mini=dict(type='QwenVL', checkpoint='mini', dtype='float32', max_length=512),  # the nearest one with embedded weights
)
