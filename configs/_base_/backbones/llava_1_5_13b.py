# LLaVA-1.5 13B: as llava_1_5_7b.py, on Vicuna-13B. The folder is llava-hf/llava-1.5-13b-hf.
backbone = dict(
    type='Llava',
    checkpoint='checkpoints/llava-1.5-13b-hf',
    dtype='bfloat16',
    max_length=2048,
    image_aspect_ratio='pad',
    mini=dict(checkpoint='mini', dtype='float32', max_length=512),
)
