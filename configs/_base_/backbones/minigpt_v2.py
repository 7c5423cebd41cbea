# MiniGPT-v2 from its three published parts: EVA ViT-g, Llama-2-7b-chat and the stage-2 checkpoint, whose LoRA is merged.
# Pictures are stretched to 448 x 448 and four tokens of a row become one (256 each); prompts in [INST] without a task tag.
# boxes='native' writes boxes as the model does, in hundredths of the picture itself.
backbone = dict(
    type='MiniGPTv2',
    checkpoint='checkpoints/minigpt-v2/checkpoint_stage2.pth',
    vit='checkpoints/minigpt-v2/eva_vit_g.pth',
    llama='checkpoints/Llama-2-7b-chat-hf',
    dtype='bfloat16',
    max_length=2048,
    boxes='native',
    mini=dict(checkpoint='mini', vit=None, llama=None, dtype='float32', max_length=512, boxes='coin'),
)
