# LLaVA-1.5 13B before instruction tuning: as llava_1_5_7b_pretrain.py, from lmsys/vicuna-13b-v1.5 and its projector.
backbone = dict(
    type='Llava',
    checkpoint='checkpoints/vicuna-13b-v1.5',
    vision_tower='checkpoints/clip-vit-large-patch14-336',
    projector='checkpoints/llava-v1.5-mlp2x-336px-pretrain-vicuna-13b-v1.5/mm_projector.bin',
    dtype='bfloat16',
    max_length=2048,
    image_aspect_ratio='pad',
    mini=dict(checkpoint='mini', vision_tower=None, projector=None, dtype='float32', max_length=512),
)
