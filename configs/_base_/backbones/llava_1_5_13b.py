# LLaVA-1.5 13B, instruction-tuned: as llava_1_5_7b.py, from liuhaotian/llava-v1.5-13b.
backbone = dict(
    type='Llava',
    checkpoint='checkpoints/llava-v1.5-13b',
    vision_tower='checkpoints/clip-vit-large-patch14-336',
    dtype='bfloat16',
    max_length=2048,
    image_aspect_ratio='pad',
    mini=dict(checkpoint='mini', vision_tower=None, dtype='float32', max_length=512),
)
