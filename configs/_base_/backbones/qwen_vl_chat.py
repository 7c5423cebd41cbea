# Qwen-VL-Chat (Qwen/Qwen-VL-Chat), native: pictures stretched to 448 x 448, 256 slots each, ChatML, rows cut at 2048.
# boxes='coin' writes boxes as CoIN's records do, as released; 'native' is the form the model was pre-trained with.
backbone = dict(
    type='QwenVL',
    checkpoint='checkpoints/Qwen-VL-Chat',
    dtype='bfloat16',
    max_length=2048,
    boxes='coin',
    mini=dict(checkpoint='mini', dtype='float32', max_length=512),
)
