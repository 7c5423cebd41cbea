"""Where the pictures of a record stand in what each backbone reads: two of them in two turns, and between words."""

from __future__ import annotations

import itertools

import pytest
from PIL import Image

from coinkit.backbones.turns import IMAGE_ID
from coinkit.datasets.instructions import InstructionJson
from coinkit.registry import BACKBONES
from coinkit.types import Sample, Turn
from tests.backbones.tiny_transformers import Plain

PICTURES = (Plain('red'), Plain('blue'))


def sample(*texts: str) -> Sample:
    turns = tuple(Turn(('human', 'gpt')[number % 2], text) for number, text in enumerate(texts))
    count = sum(text.count('<image>') for text in texts)
    return Sample('r', 't', PICTURES[:count], turns)


TWO_TURNS = sample('<image>\nfirst?', 'one', 'left <image> and?', 'two')
BETWEEN = sample('first <image> then <image>?', 'no')
AFTER_AN_ANSWER = sample('hello', 'hi', '<image>\nwhat?', 'red')


@pytest.fixture(scope='module')
def written():
    """A function: the text that a native backbone reads, `#` for a whole picture."""
    loaded = {}

    def write(kind: str, template: str, record: Sample, *, training: bool = True) -> str:
        if (kind, template) not in loaded:
            loaded[kind, template] = BACKBONES.build({'type': kind, 'checkpoint': 'mini', 'dtype': 'float32',
                                                      'device': 'meta', 'template': template})
        backbone = loaded[kind, template]
        asked = record if training else Sample(record.id, record.task, record.images, record.turns[:-1])
        ids = backbone.encode(asked, training=training).input_ids_L.tolist()
        size, text = backbone.samples.tokens_per_image, ''
        for picture, run in itertools.groupby(ids, lambda one: one == IMAGE_ID):
            run = list(run)
            text += '#' * (len(run) // size) if picture else backbone.codec.backend.decode(run, skip_special_tokens=False)
        return text
    return write


def test_llava_puts_each_turns_pictures_before_its_text(written):
    """The published rule, turn by turn."""
    text = written('Llava', 'vicuna_v1', TWO_TURNS)
    assert 'USER: #\nfirst? ASSISTANT: one' in text and 'USER: #\nleft  and? ASSISTANT: two' in text
    assert 'USER: ##\nfirst  then ?' in written('Llava', 'vicuna_v1', BETWEEN).replace('#\n#', '##')
    late = written('Llava', 'vicuna_v1', AFTER_AN_ANSWER)
    assert 'USER: hello ASSISTANT: hi' in late and 'USER: #\nwhat? ASSISTANT: red' in late
    assert 'USER: #\nfirst? ASSISTANT: one' in (asked := written('Llava', 'vicuna_v1', TWO_TURNS, training=False))
    assert asked.endswith('USER: #\nleft  and? ASSISTANT:')


@pytest.mark.parametrize('kind', ['Llava', 'MiniGPTv2'])
def test_the_embedded_prompt(written, kind):
    text = written(kind, 'mini', TWO_TURNS)
    assert text.index('#USER: first?') < text.index('# USER: left  and?') and text.count('#') == 2
    assert '##USER: first  then ?' in written(kind, 'mini', BETWEEN)


def test_chatml_keeps_places_and_numbers_pictures(written):
    text = written('QwenVL', 'chatml', TWO_TURNS)
    assert 'user\nPicture 1: <img>#</img>\nfirst?<|im_end|>' in text
    assert 'user\nleft Picture 2: <img>#</img> and?<|im_end|>' in text
    assert 'user\nfirst Picture 1: <img>#</img> then Picture 2: <img>#</img>?<|im_end|>' in written(
        'QwenVL', 'chatml', BETWEEN)


def test_inst_keeps_places(written):
    text = written('MiniGPTv2', 'minigpt_v2', TWO_TURNS)
    assert '[INST] <Img>#</Img> first?  [/INST]' in text and '[INST] left <Img>#</Img> and?  [/INST]' in text
    assert '[INST] first <Img>#</Img> then <Img>#</Img>?  [/INST]' in written('MiniGPTv2', 'minigpt_v2', BETWEEN)


def test_inst_tags_and_captions_lose_no_picture(written):
    from coinkit.backbones.minigpt_v2.templates import InstTemplate

    template = InstTemplate(task_tag='vqa', processor='question')
    assert template.prompt(BETWEEN.turns, 0) == ['[INST] [vqa] first <Img>', '</Img> then <Img>', '</Img> ?  [/INST]']
    assert template.prompt(TWO_TURNS.turns, 0) == ['[INST] <Img>', '</Img> [vqa] first?  [/INST]']
    long = sample('word ' * 60 + '<image>' + ' word' * 60, 'a')
    assert len(template.prompt(long.turns, 0)) == 2


@pytest.mark.parametrize('kind', ['qwen2_vl', 'idefics3'])
def test_chat_templates_keep_places(backbone_of, kind):
    backbone = backbone_of(kind)
    picture = {'qwen2_vl': '<|vision_start|><|image_pad|><|vision_end|>', 'idefics3': '<image>'}[kind]
    turns = backbone.samples._turns(TWO_TURNS, training=True)
    text = backbone.samples.template.conversation('r', turns)[0]
    assert f'user\n{picture}first?<|im_end|>' in text and f'user\nleft {picture} and?<|im_end|>' in text
    ids = backbone.encode(TWO_TURNS, training=True).input_ids_L
    places = (ids == backbone.samples.image_id).nonzero().flatten().tolist()
    between = backbone.processor.tokenizer.decode(ids[places[0]:places[-1]])
    assert 'first?' in between and 'left ' in between


def test_the_rows_of_a_file(written, tmp_path):
    """A published Qwen row, and one of LLaVA whose picture comes with the second question."""
    for name in ('a.png', 'b.png'):
        Image.new('RGB', (8, 8)).save(tmp_path / name)
    (tmp_path / 'rows.json').write_text('''[
        {"id": "1", "conversations": [
            {"from": "user", "value": "Picture 1: <img>a.png</img>\\nsame?"}, {"from": "assistant", "value": "no"},
            {"from": "user", "value": "left <img>b.png</img> and?"}, {"from": "assistant", "value": "x"}]},
        {"id": "2", "image": "a.png", "conversations": [
            {"from": "human", "value": "hello"}, {"from": "gpt", "value": "hi"},
            {"from": "human", "value": "<image>\\nwhat?"}, {"from": "gpt", "value": "red"}]}]''')
    rows = InstructionJson('rows.json', root=str(tmp_path))
    text = written('QwenVL', 'chatml', rows[0])
    assert 'user\nPicture 1: <img>#</img>\nsame?<|im_end|>' in text
    assert 'user\nleft Picture 2: <img>#</img> and?<|im_end|>' in text
    assert 'USER: #\nwhat? ASSISTANT: red' in written('Llava', 'vicuna_v1', rows[1])
