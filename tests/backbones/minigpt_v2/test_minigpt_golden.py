"""MiniGPT-v2 against the published code's stored outputs: towers, logits, losses, gradients, rows, prompts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from coinkit.backbones.minigpt_v2.templates import blip_caption
from coinkit.backbones.turns import IMAGE_ID
from coinkit.data.batch import IGNORE
from coinkit.types import Turn
from tests.backbones.minigpt_v2.tiny import Picture, sample

CASES = ('single', 'truncated_and_pad_in_answer')
TAG = '<Img><ImageHere></Img>'


def close(given, wanted) -> None:
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-4)


def outputs(backbone, io, case: str):
    return backbone.model(inputs_embeds=io[f'{case}.inputs_embeds'], attention_mask=io[f'{case}.attention_mask'],
                          labels=io[f'{case}.targets'])


def training_rows(texts, case: str):
    """The stored samples as records: the tag and the blanks around the question are the template's business."""
    stored = texts['samples'][case]
    questions = [one.removeprefix(TAG).strip() for one in stored['instruction_input']]
    pictures = [int(TAG in one) for one in stored['instruction_input']]
    rows = [sample(question, answer, pictures=0, name=str(number))
            for number, (question, answer) in enumerate(zip(questions, stored['answer'], strict=True))]
    return [type(row)(id=row.id, task='t', images=(Picture(f'img{number}.png'),) * pictures[number], turns=row.turns)
            for number, row in enumerate(rows)]


def test_towers(tiny_minigpt, io):
    model = tiny_minigpt.model
    states = model.visual_encoder(io['images'])
    close(states, io['vit_out'])
    close(model.ln_vision(states), io['ln_vision_out'])
    close(model.image_embeds(io['images']), io['image_embeds'])
    close(tiny_minigpt.features(io['images']), io['image_embeds'])


def test_pixels(tiny_minigpt, io):
    read = tiny_minigpt.samples.read_pixels
    close(torch.stack([read(Picture(f'img{number}.png').load()) for number in range(2)]), io['images'])


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('lora', ['merge', 'keep'])
def test_logits_and_losses(fresh, tiny_minigpt, io, case, lora):
    output = outputs(tiny_minigpt if lora == 'merge' else fresh(lora=lora), io, case)
    seen = io[f'{case}.attention_mask'] == 1
    close(output.logits[seen], io[f'{case}.logits'][seen])
    close(output.loss, io[f'{case}.loss'][0])


@pytest.mark.parametrize('case', CASES)
def test_gradients(fresh, io, texts, case):
    backbone = fresh(lora='keep')
    backbone.kept_bank.unfreeze('checkpoint')
    backbone.model.llama_proj.requires_grad_(True)
    batch = padded(backbone, [backbone.encode(row, training=True) for row in training_rows(texts, case)], io, case)
    backbone.forward(batch).token_loss_N.mean().backward()
    close(backbone.model.llama_proj.weight.grad, io[f'{case}.grad.llama_proj.weight'])
    layer = backbone.kept_bank.layers['llama_model.model.layers.0.self_attn.q_proj']
    close(layer.bank_A.grad, io[f'{case}.grad.lora_A.l0.q'])


def padded(backbone, items, io, case: str):
    """The collated batch at the published code's length, which pads prompts and answers apart."""
    batch = backbone.collate(items, padding_side='right')
    gap = (0, io[f'{case}.targets'].shape[1] - batch.input_ids_BL.shape[1])
    batch.input_ids_BL = F.pad(batch.input_ids_BL, gap, value=backbone.pad_id)
    batch.attention_mask_BL = F.pad(batch.attention_mask_BL, gap, value=0)
    batch.labels_BL = F.pad(batch.labels_BL, gap, value=IGNORE)
    return batch


@pytest.mark.parametrize('case', CASES)
def test_rows_from_text(tiny_minigpt, io, texts, golden_config, case):
    items = [tiny_minigpt.encode(row, training=True) for row in training_rows(texts, case)]
    batch = padded(tiny_minigpt, items, io, case)
    assert torch.equal(batch.labels_BL, io[f'{case}.targets'])
    assert torch.equal(batch.attention_mask_BL, io[f'{case}.attention_mask'])
    close(tiny_minigpt.embed(batch), io[f'{case}.inputs_embeds'])
    assert golden_config['max_txt_len'] == io['truncated_and_pad_in_answer.regress_targets'].shape[1]


@pytest.mark.parametrize('once', [True, False])
def test_own_forward_takes_pictures_once_or_at_every_position(tiny_minigpt, io, texts, once):
    items = [tiny_minigpt.encode(row, training=True) for row in training_rows(texts, 'single')]
    batch = padded(tiny_minigpt, items, io, 'single')
    fields = [batch.input_ids_BL, batch.attention_mask_BL, batch.labels_BL]
    if once:
        is_image_BL = batch.input_ids_BL == IMAGE_ID
        kept_BL = ~is_image_BL | (is_image_BL.cumsum(1) == 1)
        fields = [one[kept_BL].view(len(one), -1) for one in fields]
    output = tiny_minigpt.model(input_ids=fields[0], attention_mask=fields[1], pixel_values=io['images'], labels=fields[2])
    seen = io['single.attention_mask'] == 1
    close(output.logits[seen], io['single.logits'][seen])
    close(output.loss, io['single.loss'][0])


def test_score_of_multiple_choice_answers(tiny_minigpt, io):
    """`reduction` 'none' is each row's mean over all shifted positions, unlabelled ones counting zero."""
    mask, targets = io['single.attention_mask'], io['single.targets']
    output = tiny_minigpt.model(inputs_embeds=io['single.inputs_embeds'], attention_mask=mask, labels=targets,
                                reduction='none')
    logits, wanted = io['single.logits'][:, :-1], targets[:, 1:]
    logs = logits.log_softmax(-1).gather(2, wanted.clamp(min=0)[..., None])[..., 0]
    close(output.loss, (-logs * (wanted != IGNORE)).sum(1) / wanted.shape[1])


@pytest.mark.parametrize('form', ['single', 'conversation'])
def test_prompt_segments(tiny_minigpt, texts, form):
    stored = texts['samples'][form]
    firsts = stored['instruction_input'] if form == 'single' else [one.split('!@#')[0] for one in stored['conv_q']]
    for first, wanted in zip(firsts, texts['prompt_segments'][form], strict=True):
        turns = [Turn('human', '<image>\n' + first.removeprefix(TAG).strip())]
        segments = tiny_minigpt.samples.template.prompt(turns, 0)
        assert '<ImageHere>'.join(segments) == wanted['prompt']
        assert [tiny_minigpt.codec.encode(one) for one in segments] == wanted['segment_ids']


def test_generation_prompts(tiny_minigpt, texts):
    template, codec = tiny_minigpt.samples.template, tiny_minigpt.codec
    for wanted in texts['generation_prompts']:
        question = wanted.removeprefix(f'<s>[INST] {TAG} ').removesuffix(' [/INST]')
        turns = [Turn('human', f'<image>\n{question}')]
        assert '<ImageHere>'.join(template.prompt(turns, 0, start='<s>', end='')) == wanted
        ids, labels = template.render(turns, codec, training=False, max_length=512)
        assert ids[:2] == [codec.bos_id] * 2 and ids.count(codec.bos_id) == 2
        before, after = wanted.split('<ImageHere>')
        assert ids == [codec.bos_id, *codec.encode(before), IMAGE_ID, *codec.encode(after)]
        assert set(labels) == {IGNORE}


def test_caption_processor(texts):
    for given, wanted in texts['blip_caption_processor'].items():
        assert blip_caption(given) == wanted
    assert blip_caption(' '.join(map(str, range(80)))).split() == [str(one) for one in range(50)]


def test_text_only_rows_are_encoded_whole(tiny_minigpt, texts):
    for row in training_rows(texts, 'text_only'):
        encoded = tiny_minigpt.encode(row, training=True)
        codec, answer = tiny_minigpt.codec, tiny_minigpt.codec.encode(row.turns[1].text + '</s>')
        prompt = codec.encode(f'[INST] {row.turns[0].text}  [/INST]')
        assert encoded.input_ids_L.tolist() == [codec.bos_id, *prompt, *answer]
        assert encoded.labels_L.tolist() == [IGNORE] * (1 + len(prompt)) + answer


def test_conversation(tiny_minigpt, texts):
    """Later questions start with a literal `<s>` and are not supervised; the whole block is cut to max_txt_len."""
    stored, codec = texts['samples']['conversation'], tiny_minigpt.codec
    questions = [one.strip() for one in stored['conv_q'][0].removeprefix(TAG).split('!@#')]
    answers = stored['conv_a'][0].split('!@#')
    encoded = tiny_minigpt.encode(sample(questions[0], answers[0], questions[1], answers[1]), training=True)
    first, later = codec.encode(answers[0] + '</s>'), codec.encode(f'<s>[INST] {questions[1]}  [/INST]')
    last = codec.encode(answers[1] + '</s>')
    block = (first + later + last)[:24]
    assert later[0] == codec.bos_id
    assert encoded.input_ids_L.tolist()[-len(block):] == block
    labels = (first + [IGNORE] * len(later) + last)[:24]
    assert encoded.labels_L.tolist()[-len(block):] == labels
    assert (encoded.labels_L[:-len(block)] == IGNORE).all()
