# LLaVA-1.5 7B before instruction tuning, where CoIN and MLLM-CL start, from its parts as they are published:
# lmsys/vicuna-7b-v1.5, openai/clip-vit-large-patch14-336 and the projector of the first training stage
# (liuhaotian/llava-v1.5-mlp2x-336px-pretrain-vicuna-7b-v1.5). CLIP frozen, prompts vicuna_v1, pictures padded to a square,
# rows cut at 2048 tokens.
backbone = dict(
    type='Llava',
    checkpoint='checkpoints/vicuna-7b-v1.5',
    vision_tower='checkpoints/clip-vit-large-patch14-336',
    projector='checkpoints/llava-v1.5-mlp2x-336px-pretrain-vicuna-7b-v1.5/mm_projector.bin',
    dtype='bfloat16',
    max_length=2048,
    image_aspect_ratio='pad',
    mini=dict(checkpoint='mini', vision_tower=None, projector=None, dtype='float32', max_length=512),
)
