"""MiniGPT-v2 as a backbone: batches, generation, pictures shared or missing, training with and without a bank."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coinkit.backbones.inject import find_targets
from coinkit.backbones.minigpt_v2 import MiniGPTv2
from coinkit.backbones.minigpt_v2.templates import IMAGE_TAG, answer_text
from coinkit.backbones.turns import IMAGE_ID
from coinkit.data.batch import IGNORE
from coinkit.engine.generation import decode_batch
from coinkit.errors import ConfigError, DataError
from coinkit.types import Turn
from tests.backbones.minigpt_v2.tiny import Picture, sample

QUESTIONS = [sample('What color is the cat?', name='short'),
             sample('Is there a dog on the table?', 'Yes', 'How many balls are on the table?', name='turns'),
             sample('How many balls?', pictures=0, name='text'),
             sample('Is it the same cat?', pictures=2, name='pair')]


def rows(backbone, samples, *, training=False):
    return backbone.collate([backbone.encode(one, training=training) for one in samples],
                            padding_side='right' if training else 'left')


def answers(backbone, samples) -> list[list[int]]:
    return decode_batch(backbone, rows(backbone, samples), [8] * len(samples))


def test_batched_generation_is_one_by_one(tiny_minigpt):
    """Left padding, several turns, two pictures and none in one batch."""
    together = answers(tiny_minigpt, QUESTIONS)
    assert together == [answers(tiny_minigpt, [one])[0] for one in QUESTIONS]
    assert len({tuple(one) for one in together}) > 1


def test_generation_is_transformers_own(tiny_minigpt):
    """The same greedy ids as `generate` of the model with one id per picture."""
    for question in (QUESTIONS[0], QUESTIONS[3]):
        encoded = tiny_minigpt.encode(question, training=False)
        found = tiny_minigpt.model.generate(input_ids=encoded.input_ids_L[None], pixel_values=encoded.pixel_values_P,
                                            attention_mask=torch.ones_like(encoded.input_ids_L)[None], max_new_tokens=8,
                                            do_sample=False, eos_token_id=2, pad_token_id=0)[0].tolist()
        own = answers(tiny_minigpt, [question])[0]
        assert own and found[:len(own)] == own


def test_prompt_length_is_the_rows(tiny_minigpt):
    for question in QUESTIONS:
        assert tiny_minigpt.prompt_length(question) == len(tiny_minigpt.encode(question, training=False).input_ids_L)


def test_multi_turn_prompt(tiny_minigpt):
    """History as it was trained: the answer and its end symbol, then `<s>` and the next question."""
    codec, ids = tiny_minigpt.codec, tiny_minigpt.encode(QUESTIONS[1], training=False).input_ids_L.tolist()
    end = codec.encode('Yes</s>') + codec.encode('<s>[INST] How many balls are on the table? [/INST]')
    assert ids[-len(end):] == end


def test_several_pictures_stand_in_front(tiny_minigpt):
    codec, encoded = tiny_minigpt.codec, tiny_minigpt.encode(QUESTIONS[3], training=False)
    slots = [IMAGE_ID] * 4
    assert encoded.input_ids_L.tolist() == [codec.bos_id, *codec.encode('<s>[INST] <Img>'), *slots,
                                            *codec.encode('</Img><Img>'), *slots,
                                            *codec.encode('</Img> Is it the same cat? [/INST]')]
    assert encoded.pixel_values_P.shape == (2, 3, 56, 56)


def test_two_questions_share_the_picture(tiny_minigpt):
    first, second, other = (tiny_minigpt.encode(one, training=False) for one in (
        sample('What color is the cat?'), sample('Is there a dog?'),
        replace(sample('Is there a dog?'), images=(Picture('img1.png'),))))
    assert first.prefix_key == second.prefix_key != other.prefix_key
    length = first.shared_prefix_length
    assert length == second.shared_prefix_length > 4
    assert first.input_ids_L[length - 1] == IMAGE_ID and first.input_ids_L[length] != IMAGE_ID
    with torch.no_grad():
        states = [tiny_minigpt._hidden(tiny_minigpt.collate([one], padding_side='left'))[0, :length]
                  for one in (first, second, other)]
    torch.testing.assert_close(states[0], states[1])
    assert not torch.allclose(states[0], states[2])


def test_answers_are_read_back(tiny_minigpt):
    codec = tiny_minigpt.codec
    assert tiny_minigpt.decode(codec.encode('red ball</s> a cat')) == 'red ball'
    assert tiny_minigpt.decode(codec.encode('<s>[INST] is it a dog? [/INST] no </s>')) == 'no'
    assert answer_text('a [/INST] b [/INST] c ') == 'c'


def test_boxes_are_the_models_own(tiny_minigpt):
    """Records write CoIN's boxes; the tiny pictures are not square."""
    asked = sample('[refer] give me the location of the dog', '[0.100,0.200,0.300,0.400]')
    width, height = asked.images[0].size
    side = max(width, height)
    wanted = [int(value * 100 + 1e-6) for value in (
        (0.1 * side - (side - width) / 2) / width, (0.2 * side - (side - height) / 2) / height,
        (0.3 * side - (side - width) / 2) / width, (0.4 * side - (side - height) / 2) / height)]
    ids = tiny_minigpt.encode(asked, training=True)
    answer = ids.input_ids_L[ids.labels_L != IGNORE].tolist()
    assert answer == tiny_minigpt.codec.encode('{' + ''.join(f'<{max(one, 0)}>' for one in wanted) + '}</s>')
    assert tiny_minigpt.read_answer('{<10><20><30><40>}', asked).startswith('[0.')


def test_boxes_as_records_write_them(fresh):
    backbone = fresh(boxes='coin', device='meta')
    ids = backbone.encode(sample('[refer] the dog', '[0.100,0.200,0.300,0.400]'), training=True)
    answer = backbone.codec.encode('[0.100,0.200,0.300,0.400]</s>')[:24]
    assert ids.input_ids_L[ids.labels_L != IGNORE].tolist() == answer
    assert backbone.read_answer('{<10><20><30><40>}', sample('the dog')) == '{<10><20><30><40>}'


@pytest.mark.parametrize('question, wanted', [('cat?', '[vqa] cat?'), ('[refer] cat', '[refer] cat'), ('', '[vqa] ')])
def test_task_tag(fresh, question, wanted):
    backbone = fresh(task_tag='vqa', device='meta')
    assert backbone.samples.template.prompt([Turn('human', question)], 0, end='') == [f'[INST] {wanted} [/INST]']
    later = [Turn('human', 'a'), Turn('gpt', 'b'), Turn('human', 'c')]
    assert backbone.samples.template.prompt(later, 2) == ['[INST] c  [/INST]']


def test_chat_template_off_wraps_conversations_only(fresh):
    backbone = fresh(chat_template=False, device='meta')
    codec = backbone.codec
    ids = backbone.encode(sample('How many?', '3', pictures=0), training=True).input_ids_L.tolist()
    assert ids == [codec.bos_id, *codec.encode('How many? '), *codec.encode('3</s>')]
    ids = backbone.encode(sample('How many?', '3', 'And?', '4', pictures=0), training=True).input_ids_L.tolist()
    prompt = codec.encode('[INST] How many?  [/INST]')
    assert ids[:1 + len(prompt)] == [codec.bos_id, *prompt]
    asked = backbone.encode(sample('How many?', pictures=0), training=False).input_ids_L.tolist()
    assert asked == [codec.bos_id, *codec.encode('<s>[INST] How many? [/INST]')]


def test_caption_processor_option(fresh):
    for where, question, answer in (('question', 'is it a cat', 'A Dog!'), ('answer', 'Is it (a) CAT!', 'a dog'),
                                    ('both', 'is it a cat', 'a dog')):
        backbone = fresh(blip_caption=where, max_txt_len=200, device='meta')
        ids = backbone.encode(sample('Is it (a) CAT!', 'A Dog!', pictures=0), training=True).input_ids_L.tolist()
        assert ids[1:] == backbone.codec.encode(f'[INST] {question}  [/INST]') + backbone.codec.encode(f'{answer}</s>')


def test_pad_piece_in_a_conversation_is_learnt_but_not_attended(fresh, tiny_minigpt):
    """Published quirk: label kept and attention 0 behind the first prompt; positions count on."""
    backbone = fresh(max_txt_len=200)
    talk = sample('What is x$$y?', 'a$$b', 'And now?', 'red')
    batch = rows(backbone, [talk, sample('Is it?', 'Yes')], training=True)
    pad = batch.input_ids_BL[0] == backbone.pad_id
    hidden = batch.attention_mask_BL[0] == 0
    assert pad.sum() == 2 and hidden.sum() == 1  # the one in the first prompt is attended
    assert (batch.labels_BL[0][hidden] == backbone.pad_id).all()
    embeds = backbone.embed(batch)
    logits = backbone.model(inputs_embeds=embeds, attention_mask=batch.attention_mask_BL).logits  # positions 0, 1, 2...
    own = backbone.forward(batch)
    torch.testing.assert_close(own.logits_NV, logits[:, :-1][batch.labels_BL[:, 1:] != IGNORE], rtol=0, atol=1e-5)


def test_prompt_is_cut_to_max_context_len(fresh):
    template = replace(fresh(device='meta').samples.template, max_context_len=20)
    ids, _ = template.render([Turn('human', f'{IMAGE_TAG}\n' + 'a dog ' * 20), Turn('gpt', 'red')],
                             fresh(device='meta').codec, training=True, max_length=512)
    answer = fresh(device='meta').codec.encode('red</s>')
    assert ids.count(IMAGE_ID) == 1 and len(ids) - 1 + 3 == 20 + len(answer)


def test_zero_picture(fresh, tiny_minigpt):
    backbone = fresh(missing_image='zero')
    row = sample('How many balls?', 'two', pictures=0)
    encoded = backbone.encode(row, training=True)
    with_picture = tiny_minigpt.encode(replace(row, images=(Picture('img0.png'),)), training=True)
    assert torch.equal(encoded.input_ids_L, with_picture.input_ids_L)
    assert encoded.pixel_values_P.shape == (1, 3, 56, 56) and not encoded.pixel_values_P.any()
    asked = replace(row, turns=row.turns[:1])
    assert backbone.prompt_length(asked) == len(backbone.encode(asked, training=False).input_ids_L)
    assert tiny_minigpt.encode(row, training=True).pixel_values_P is None
    with_one = backbone.encode(sample('How many balls?', 'two'), training=True)
    assert with_one.pixel_values_P.any()


def test_zero_picture_and_a_box_in_the_text(fresh):
    """There is no picture that the box could be of: the text stays."""
    backbone, box = fresh(missing_image='zero', boxes='native', device='meta'), '[0.1,0.2,0.3,0.4]'
    row = sample(f'what is at {box}?', box, pictures=0)
    encoded, asked = backbone.encode(row, training=True), replace(row, turns=row.turns[:1])
    assert encoded.labels_L[encoded.labels_L != IGNORE].tolist() == backbone.codec.encode(f'{box}</s>')
    assert backbone.prompt_length(asked) == len(backbone.encode(asked, training=False).input_ids_L)
    assert backbone.read_answer('{<10><20><30><40>}', asked) == '{<10><20><30><40>}'


def test_zero_picture_with_text_only_rows_elsewhere(tiny_minigpt):
    """In a mixed batch a text-only row is what it is alone."""
    samples = [sample('a cat', 'red'), sample('a dog?', 'two', pictures=0, name='b')]
    both = tiny_minigpt.forward(rows(tiny_minigpt, samples, training=True))
    alone = tiny_minigpt.forward(rows(tiny_minigpt, samples[1:], training=True))
    torch.testing.assert_close(both.token_loss_N[both.rows_N == 1], alone.token_loss_N)


@pytest.mark.parametrize('banked', [False, True])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_training_step_with_recomputation(fresh, banked, dtype):
    """Recomputed in both towers or not: the same gradients; picture tower, projection and blocks all get some."""
    grads = []
    for recompute in (False, True):
        backbone = fresh(dtype=dtype)
        if banked:
            bank = backbone.insert_bank()
            bank.add('task', rank=2, scale=1.0, generator=torch.Generator().manual_seed(0))
        trained = [backbone.model.llama_proj.weight, backbone.model.visual_encoder.blocks[1].mlp.fc1.weight]
        for one in trained:
            one.data = one.data.float()
            one.requires_grad_(True)
        trained += list(bank.trainable_parameters().values()) if banked else []
        backbone.set_gradient_checkpointing(recompute)
        backbone.model.train()
        batch = rows(backbone, [sample('a cat', 'red'), sample('a dog?', 'two', pictures=0)], training=True)
        backbone.forward(batch).token_loss_N.mean().backward()
        assert all(torch.isfinite(one.grad).all() for one in trained)
        assert all(one.grad.any() for one in trained[:2]) and any(one.grad.any() for one in trained)
        grads.append([one.grad for one in trained])
    for plain, again in zip(*grads, strict=True):
        torch.testing.assert_close(plain, again)


def test_frozen_tower_runs_without_gradient(fresh):
    backbone = fresh()
    backbone.model.llama_proj.requires_grad_(True)
    assert backbone.features(torch.zeros(1, 3, 56, 56)).requires_grad
    assert not backbone.model.image_states(torch.zeros(1, 3, 56, 56)).requires_grad


def test_adapters_on_every_linear(fresh, tiny_minigpt):
    """The tower's too: they count in its forward pass and get gradients."""
    backbone, pixels = fresh(), torch.rand(1, 3, 56, 56)
    bank = backbone.insert_bank(targets='all-linear')
    bank.add('a', rank=2, scale=1.0, generator=torch.Generator().manual_seed(0))
    qkv = backbone.model.visual_encoder.blocks[0].attn.qkv
    with torch.no_grad():
        plain = tiny_minigpt.model.image_states(pixels)
        torch.testing.assert_close(backbone.model.image_states(pixels), plain)
        qkv.bank_B.normal_(generator=torch.Generator().manual_seed(0))
        assert not torch.allclose(backbone.model.image_states(pixels), plain, atol=1e-2)
    backbone.forward(rows(backbone, [sample('a cat', 'red')], training=True)).token_loss_N.mean().backward()
    assert qkv.bank_A.grad.any() and qkv.bank_B.grad.any()


def test_targets_are_q_and_v_of_the_language_model(tiny_minigpt):
    names = find_targets(tiny_minigpt.model, tiny_minigpt.lora_targets)
    assert len(names) == 4 and all(name.startswith('llama_model.') and name[-6:] in ('q_proj', 'v_proj') for name in names)


def test_kept_adapters_are_in_every_bank(fresh, tiny_minigpt, io):
    backbone = fresh(lora='keep')
    bank = backbone.insert_bank(targets=backbone.lora_targets.replace('(q|v)', '(q|k|v|o)'))
    assert list(bank.blocks) == ['checkpoint'] and not bank.blocks['checkpoint'].trainable
    assert len(bank.targets) == 8
    fields = dict(inputs_embeds=io['single.inputs_embeds'], attention_mask=io['single.attention_mask'])
    torch.testing.assert_close(backbone.model(**fields).logits, tiny_minigpt.model(**fields).logits, rtol=0, atol=1e-4)
    with pytest.raises(ConfigError, match="gated by 'softmax'.*lora='merge'"):
        fresh(lora='keep').insert_bank(gate='softmax')
    with pytest.raises(ConfigError, match='the bank does not'):
        fresh(lora='keep').insert_bank(targets=['k_proj'])


BAD_CALLS = {
    'no pixels': (dict(input_ids=torch.tensor([[1, -200, 5]])), 'no pixel_values'),
    'count': (dict(input_ids=torch.tensor([[1, -200, -200, 5]]), pixel_values=torch.zeros(1, 3, 56, 56)), '2 times for 1'),
    'size': (dict(input_ids=torch.tensor([[1, -200]]), pixel_values=torch.zeros(1, 3, 55, 56)), r'\(1, 3, 55, 56\)'),
    'reduction': (dict(input_ids=torch.tensor([[1, 5]]), labels=torch.tensor([[1, 5]]), reduction='sum'), "'sum'"),
}


@pytest.mark.parametrize('case', BAD_CALLS)
def test_bad_inputs_are_named(tiny_minigpt, case):
    call, words = BAD_CALLS[case]
    with pytest.raises(ValueError, match=words):
        tiny_minigpt.model(**call)


def test_bad_samples_are_named(tiny_minigpt):
    with pytest.raises(DataError, match='record a: 2 <image> tags for 1 pictures'):
        tiny_minigpt.encode(sample('<image><image> what?', 'red'), training=True)
    with pytest.raises(DataError, match='record a: .*no answer'):
        tiny_minigpt.encode(sample('what?'), training=True)
    with pytest.raises(DataError, match='record a: the prompt has'):
        tiny_minigpt.encode(sample('a dog ' * 400), training=False)


def test_text_cannot_be_mistaken_for_a_picture(tiny_minigpt):
    row = sample('what is <Img><ImageHere></Img> in a prompt?', 'red')
    assert tiny_minigpt.encode(row, training=True).input_ids_L.tolist().count(IMAGE_ID) == 4


def test_random_weights_from_a_seed(fresh, tiny_minigpt):
    one, two = fresh(init_seed=3), fresh(init_seed=3)
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))
    assert all(torch.isfinite(a).all() for a in one.model.parameters())
    assert one.model.visual_encoder.pos_embed.any() and one.kept_lora is None
    assert isinstance(one, MiniGPTv2) and one.describe()['parameters'] == tiny_minigpt.describe()['parameters']
