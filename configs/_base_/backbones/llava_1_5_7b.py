# LLaVA-1.5 7B: CLIP-L/336 frozen, prompts vicuna_v1, pictures padded to a square, rows cut at 2048 tokens.
# The folder is in hub format: llava-hf/llava-1.5-7b-hf, or what Llava.save() wrote. That model is instruction-tuned, the
# start of UCIT and MCITlib; CoIN and MLLM-CL start from lmsys/vicuna-7b-v1.5 with the pre-training projector of
# liuhaotian/llava-v1.5-mlp2x-336px-pretrain-vicuna-7b-v1.5, put together as such a folder.
backbone = dict(
    type='Llava',
    checkpoint='checkpoints/llava-1.5-7b-hf',
    dtype='bfloat16',
    max_length=2048,
    image_aspect_ratio='pad',
    mini=dict(checkpoint='mini', dtype='float32', max_length=512),
)
