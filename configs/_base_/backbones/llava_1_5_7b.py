# LLaVA-1.5 7B, instruction-tuned: the start of UCIT and MCITlib. CLIP-L/336 frozen, prompts vicuna_v1, pictures padded to
# a square, rows cut at 2048 tokens. The folder is liuhaotian/llava-v1.5-7b as published; it holds no vision tower, which
# is openai/clip-vit-large-patch14-336. The hub-format copy (llava-hf/llava-1.5-7b-hf) works as well, with
# vision_tower=None. CoIN and MLLM-CL start from llava_1_5_7b_pretrain.py.
backbone = dict(
    type='Llava',
    checkpoint='checkpoints/llava-v1.5-7b',
    vision_tower='checkpoints/clip-vit-large-patch14-336',
    dtype='bfloat16',
    max_length=2048,
    image_aspect_ratio='pad',
    mini=dict(checkpoint='mini', vision_tower=None, dtype='float32', max_length=512),
)
