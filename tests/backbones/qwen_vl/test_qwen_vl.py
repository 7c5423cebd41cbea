"""What the Qwen-VL backbone promises the engine, on a small model with the golden vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from PIL import Image

from coinkit.backbones.qwen_vl import QwenVL
from coinkit.backbones.turns import IMAGE_ID
from coinkit.data.batch import IGNORE, Batch
from coinkit.engine.generation import decode_batch, evaluating
from coinkit.errors import DataError
from coinkit.types import Sample, Turn


@dataclass(frozen=True)
class Plain:
    """A picture of one colour."""

    colour: str
    size: tuple[int, int] = (80, 60)

    @property
    def key(self) -> str:
        return f'{self.colour}{self.size}'

    def load(self) -> Image.Image:
        return Image.new('RGB', self.size, self.colour)


def sample(question, answer=None, images=(Plain('red'),), name='s'):
    turns = [Turn('human', question)] + ([Turn('gpt', answer)] if answer is not None else [])
    return Sample(name, 't', tuple(images), tuple(turns))


def batch_of(backbone, samples, *, training=True) -> Batch:
    return backbone.collate([backbone.encode(one, training=training) for one in samples],
                            padding_side='right' if training else 'left')


LONG = 'is this a question that is much longer than the others? ' * 4
PROMPTS = [sample('What color is the cat?'), sample(LONG * 2, images=[Plain('blue')]), sample('You?', images=[]),
           sample('<image>\n<image>\nwhich? ' + LONG, images=[Plain('green', (20, 90)), Plain('red')]),
           Sample('turns', 't', (Plain('gray'),), (Turn('human', '<image>\nhi'), Turn('gpt', 'hello'), Turn('human', LONG)))]


# --- rows -------------------------------------------------------------------------------------------------------


def test_a_row(small):
    encoded = small.encode(sample('What color is the cat?', 'red'), training=True)
    ids, labels = encoded.input_ids_L.tolist(), encoded.labels_L.tolist()
    start, end = ids.index(small.codec.special_id('<img>')), ids.index(small.codec.special_id('</img>'))
    assert ids[start + 1:end] == [IMAGE_ID] * 16 and ids.count(IMAGE_ID) == 16
    assert labels[-3:] == [300, 318, 104] and labels[start:end + 1] == [IGNORE] * 18
    assert encoded.pixel_values_P.shape == (1, 3, 56, 56)
    asked = small.encode(sample('What color is the cat?'), training=False)
    assert asked.input_ids_L.tolist() == ids[:-3] and set(asked.labels_L.tolist()) == {IGNORE}
    assert small.prompt_length(sample('What color is the cat?')) == len(ids) - 3


def test_pictures_are_stretched(small):
    left_white = Image.new('RGB', (100, 40), 'black')
    left_white.paste('white', (0, 0, 50, 40))
    pixels = small.samples.read_pixels(left_white)
    assert pixels.shape == (3, 56, 56)
    assert (pixels[0, :, 10] > 1).all() and (pixels[0, :, 45] < 0).all()  # nothing added, nothing cut


def test_boxes(small, small_folder):
    asked = sample('Where? [0.25,0.25,0.50,0.75]', '[0.00,0.25,0.50,0.75]', images=[Plain('red', (100, 100))])
    written = small.codec.backend.decode([one for one in small.samples.tokens(asked, training=True)[0] if one >= 0],
                                         skip_special_tokens=False)
    assert '<box>(0,250),(500,750)</box>' in written and '<box>(250,250),(500,750)</box>' in written
    assert small.read_answer('<box>(0,250),(500,750)</box>', asked) == '[0.000,0.250,0.500,0.750]'
    plain = QwenVL(str(small_folder), dtype='float32', device='cpu', boxes='coin')
    assert '[0.00,0.25,0.50,0.75]' in plain.codec.text([one for one in plain.samples.tokens(asked, training=True)[0]
                                                        if one >= 0])


@pytest.mark.parametrize('written, stored', [
    ('<ref>the cup</ref><box>(0,250),(500,750)</box><|im_end|>', 'the cup[0.000,0.250,0.500,0.750]'),
    ('<box>(0,250),(500,750)', '[0.000,0.250,0.500,0.750]'),
    ('The points are (1,2),(3,4).', 'The points are (1,2),(3,4).'),
    ('<box>no box</box> here', 'no box here')])
def test_generated_boxes_are_told_by_their_marks(small, written, stored):
    asked = sample('Where?', images=[Plain('red', (100, 100))])
    assert small.read_answer(small.decode(small.codec.encode(written)), asked) == stored


@pytest.mark.parametrize('written', [' <box>(0,250),(500,750)</box>', '<box> (0,250),(500,750)</box>'])
def test_the_first_character_dropped_is_no_mark(small_folder, written):
    backbone = QwenVL(str(small_folder), dtype='float32', device='meta', template='coin', boxes='native')
    assert backbone.decode(backbone.codec.encode(written)) == '<box>(0,250),(500,750)</box>'


def test_marks_of_boxes_are_left_out_where_none_is_read(small, small_folder):
    ids = small.codec.encode('<box>(0,250),(500,750)</box>')
    assert small.read_answer(small.decode(ids), sample('Where?', images=[])) == '(0,250),(500,750)'
    plain = QwenVL(str(small_folder), dtype='float32', device='cpu', boxes='coin')
    assert plain.decode(ids) == '(0,250),(500,750)'
    assert plain.read_answer('a <box>', sample('Where?')) == 'a <box>'


def test_lists_that_are_no_boxes_stay(small):
    asked = sample('Which is sorted: [0,1,1,0] or [0, 0, 1, 1]?', images=[Plain('red', (640, 480))])
    ids = [one for one in small.samples.tokens(asked, training=False)[0] if one >= 0]
    assert 'Which is sorted: [0,1,1,0] or [0, 0, 1, 1]?' in small.codec.backend.decode(ids)


def test_coin_template(small_folder):
    backbone = QwenVL(str(small_folder), dtype='float32', device='cpu', template='coin')
    ids = [one for one in backbone.samples.tokens(sample('<image>\nred?'), training=False)[0] if one >= 0]
    assert backbone.codec.backend.decode(ids, skip_special_tokens=False) == \
        'System:You are a helpful assistant.\n\n<img></img>red? Assistant:'
    assert backbone.decode(backbone.codec.encode(' red \n')) == 'red'
    assert backbone.decode(backbone.codec.encode('red')) == 'ed'
    assert backbone.eos_ids == {backbone.codec.special_id('<|endoftext|>')}
    kept = QwenVL(str(small_folder), dtype='float32', device='cpu', template='coin', drop_first_character=False)
    assert kept.decode(kept.codec.encode('red')) == 'red'


@pytest.mark.parametrize('asked, words', [
    (sample('<image> <image> two?'), 'record s: 2 <image> tags for 1 pictures'),
    (sample('<img>a.png</img> what?', images=[]), "record s: a text holds '<img>'"),
    (sample('no ' * 700), 'record s: the prompt has .* tokens; the model reads at most 600'),
    (sample('what?', images=[Plain('red')] * 40), 'record s: the prompt has'),
    (Sample('s', 't', (), (Turn('gpt', 'a'),)), 'record s: must end with a human turn'),
])
def test_records_that_do_not_fit(small, asked, words):
    with pytest.raises(DataError, match=words):
        small.encode(asked, training=False)


def test_a_picture_that_does_not_fit_the_row(small_folder):
    backbone = QwenVL(str(small_folder), dtype='float32', device='cpu', max_length=32)
    with pytest.raises(DataError, match='record s: 1 pictures of 16 tokens do not fit backbone.max_length=32'):
        backbone.encode(sample('What color is the cat?', 'red'), training=True)
    assert len(backbone.encode(sample('What ' * 40, 'red', images=[]), training=True).input_ids_L) == 32


# --- states -----------------------------------------------------------------------------------------------------


def test_two_questions_share_the_prefix_of_their_picture(small):
    first, second = (small.encode(sample(text), training=False) for text in ('what?', 'a very different one'))
    end = first.shared_prefix_length
    assert end == second.shared_prefix_length > 16 and first.prefix_key == second.prefix_key != ''
    states = [small._hidden(batch_of(small, [sample(text)], training=False), use_cache=False)[0, :end]
              for text in ('what?', 'a very different one')]
    assert (states[0] - states[1]).abs().max() < 1e-5


def test_a_prompt_with_another_base_shares_nothing(small):
    long = small.encode(sample(LONG * 2), training=False)
    assert (long.shared_prefix_length, long.prefix_key) == (0, '')
    end = small.encode(sample('what?'), training=False).shared_prefix_length
    states = [small._hidden(batch_of(small, [sample(text)], training=False), use_cache=False)[0, :end]
              for text in ('what?', LONG * 2)]
    assert (states[0] - states[1]).abs().max() > 1e-3  # this is why


def test_the_batch_equals_the_published_layout(small):
    """The engine's forward against the model's own on ids with slots."""
    item = small.encode(sample('What color is the cat?', 'red'), training=True)
    found = small.forward(small.collate([item], padding_side='right'))
    ids = item.input_ids_L.masked_fill(item.input_ids_L == IMAGE_ID, 5)[None]
    with torch.no_grad():
        wanted = small.model(input_ids=ids, pixel_values=item.pixel_values_P, labels=item.labels_L[None])
    assert found.token_loss_N.mean() == pytest.approx(wanted.loss.item(), abs=1e-5)


def test_rows_of_a_mixed_batch_equal_rows_alone(small):
    mixed = [sample('What color is the cat?', 'red'), sample('You?', 'no', images=[]), sample(LONG, 'a dog', images=[]),
             sample('<image>\n<image>\nand?', 'blue', images=[Plain('blue'), Plain('green')])]
    with torch.no_grad(), evaluating(small):
        together = small.forward(batch_of(small, mixed))
        for row, one in enumerate(mixed):
            alone = small.forward(batch_of(small, [one]))
            assert (together.logits_NV[together.rows_N == row] - alone.logits_NV).abs().max() < 1e-4


@pytest.mark.parametrize('attn', ['sdpa', 'eager'])
def test_batched_generation_equals_one_by_one(small_folder, attn):
    """Prompts below and above seq_length, with the rows leaving the cache at different steps."""
    backbone = QwenVL(str(small_folder), dtype='float32', device='cpu', attn=attn)
    lengths = [backbone.prompt_length(one) for one in PROMPTS]
    assert min(lengths) < 96 < sorted(lengths)[-3] and max(lengths) > 2 * 96
    limits = [30, 22, 3, 12, 40]
    with evaluating(backbone):
        alone = [decode_batch(backbone, batch_of(backbone, [one], training=False), [limit])[0]
                 for one, limit in zip(PROMPTS, limits, strict=True)]
        together = decode_batch(backbone, batch_of(backbone, PROMPTS, training=False), limits)
    assert together == alone
    assert len({tuple(ids) for ids in alone}) == len(alone) and max(len(set(ids)) for ids in alone) > 3


def test_an_answer_that_grows_past_seq_length_keeps_the_base_of_its_prompt(small):
    asked = sample('What color is the cat? ' + 'is this red? ' * 5)
    assert 80 < small.prompt_length(asked) <= 96
    answers = []
    for dynamic in (True, False):
        small.model.config.use_dynamic_ntk = dynamic
        with evaluating(small):
            answers.append(decode_batch(small, batch_of(small, [asked], training=False), [40])[0])
    assert answers[0] == answers[1] and small.prompt_length(asked) + len(answers[0]) > 96


def test_generation_equals_transformers_own(small):
    encoded = small.encode(PROMPTS[1], training=False)
    ids = encoded.input_ids_L.masked_fill(encoded.input_ids_L == IMAGE_ID, 5)[None]
    found = small.model.generate(input_ids=ids, pixel_values=encoded.pixel_values_P, max_new_tokens=10, do_sample=False,
                                 eos_token_id=sorted(small.eos_ids))[0, ids.shape[1]:].tolist()
    with evaluating(small):
        wanted = decode_batch(small, batch_of(small, [PROMPTS[1]], training=False), [10])[0]
    assert [one for one in found if one not in small.eos_ids] == wanted and len(wanted) > 3


# --- training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('with_bank', [True, False])
def test_bf16_training_with_recomputation(small_folder, with_bank):
    backbone = QwenVL(str(small_folder), device='cpu')
    mixed = [sample('What color is the cat?', 'red'), sample(LONG, 'no', images=[])]
    if with_bank:
        bank = backbone.insert_bank()
        bank.add('task', rank=4, scale=2.0)
        names = {name.split('.bank')[0] for name, one in backbone.model.named_parameters() if one.requires_grad}
        assert all(name.startswith('transformer.h.') for name in names)
    backbone.model.get_submodule(backbone.projector).requires_grad_(True)
    backbone.set_gradient_checkpointing(True)
    backbone.model.train()
    trained = {name: one for name, one in backbone.model.named_parameters() if one.requires_grad}
    before = {name: one.detach().clone() for name, one in trained.items()}
    optimizer = torch.optim.SGD(trained.values(), lr=1.0)
    losses = []
    for _ in range(2):
        loss = backbone.forward(batch_of(backbone, mixed)).token_loss_N.mean()
        loss.backward()
        assert all(one.grad is not None and one.grad.isfinite().all() for one in trained.values())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    changed = [name for name in trained if not torch.equal(before[name], trained[name])]
    assert len(changed) > len(trained) // 2 and losses[1] != losses[0]


def test_recomputation_changes_no_gradient(small):
    batch = batch_of(small, [sample('What color is the cat?', 'red')])
    weight = small.model.transformer.h[0].attn.c_attn.weight.requires_grad_(True)
    small.model.train()
    found = []
    for enabled in (False, True):
        small.set_gradient_checkpointing(enabled)
        small.forward(batch).token_loss_N.mean().backward()
        found.append(weight.grad.clone())
        weight.grad = None
    assert torch.allclose(*found, atol=1e-7)


def test_text_alone_gives_the_resampler_zero_gradients(small):
    small.model.get_submodule(small.projector).requires_grad_(True)
    small.model.train()
    small.forward(batch_of(small, [sample('You?', 'no', images=[])])).token_loss_N.mean().backward()
    for parameter in small.model.get_submodule(small.projector).parameters():
        assert parameter.grad is not None and not parameter.grad.any()


def test_lora_targets(small):
    from coinkit.backbones.inject import find_targets

    names = find_targets(small.model, small.lora_targets)
    assert names == [f'transformer.h.{layer}.{name}' for layer in (0, 1)
                     for name in ('attn.c_attn', 'attn.c_proj', 'mlp.w1', 'mlp.w2')]


def test_peft_reads_an_exported_adapter(small, tmp_path):
    from peft import PeftModel

    from coinkit.backbones.peft_io import export_peft

    bank = small.insert_bank()
    bank.add('task', rank=4, scale=0.5)
    state = bank.state_dict()
    bank.load_state_dict({name: torch.randn(one.shape, generator=torch.Generator().manual_seed(1)) * 0.1
                          for name, one in state.items()})
    ids = torch.tensor([[5, 9, 70, 33]])
    with torch.no_grad():
        wanted = small.model(input_ids=ids).logits
        export_peft(bank, tmp_path / 'adapter')
        fresh = QwenVL(str(small.folder), dtype='float32', device='cpu')
        found = PeftModel.from_pretrained(fresh.model, str(tmp_path / 'adapter'))(input_ids=ids).logits
    assert (found - wanted).abs().max() < 1e-4
