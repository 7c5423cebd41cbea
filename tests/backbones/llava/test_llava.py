"""What the LLaVA backbone promises the engine, on the embedded weights and on the tiny golden model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch
import torch.distributed as dist
from PIL import Image

from coinkit.backbones.llava import Llava
from coinkit.backbones.turns import IMAGE_ID
from coinkit.data.batch import IGNORE, Batch
from coinkit.errors import BadImage, DataError
from coinkit.types import Query, Sample, Turn


@dataclass(frozen=True)
class Plain:
    """A picture of one colour."""

    colour: str
    size: tuple[int, int] = (64, 64)

    @property
    def key(self) -> str:
        return f'{self.colour}{self.size}'

    def load(self) -> Image.Image:
        if self.colour == 'broken':
            raise BadImage('broken.png cannot be decoded')
        return Image.new('RGB', self.size, self.colour)


def sample(question, answer=None, images=(Plain('red'),), name='s'):
    turns = [Turn('human', question)] + ([Turn('gpt', answer)] if answer is not None else [])
    return Sample(name, 't', tuple(images), tuple(turns))


QUESTION = 'what is it?\nanswer with one word.'


def batch_of(backbone, samples, *, training=True) -> Batch:
    return backbone.collate([backbone.encode(one, training=training) for one in samples],
                            padding_side='right' if training else 'left')


MIXED = [sample(QUESTION, 'red'), sample('is this a longer question without a picture?', 'no', images=()),
         sample('and', 'blue ring', images=[Plain('blue', (90, 40))])]


# --- samples ----------------------------------------------------------------------------------------------------


def test_mini_prompt(mini):
    encoded = mini.encode(sample(QUESTION, 'red'), training=True)
    ids, supervised = encoded.input_ids_L.tolist(), encoded.labels_L != IGNORE
    assert ids[:65] == [1] + [IMAGE_ID] * 64
    text = mini.codec.backend.decode(ids[65:], skip_special_tokens=False)
    assert text == f'USER: {QUESTION} ASSISTANT: red</s>'
    assert mini.codec.backend.decode(encoded.labels_L[supervised].tolist(), skip_special_tokens=False) == ' red</s>'
    prompt = mini.encode(sample(QUESTION), training=False).input_ids_L.tolist()
    assert ids[:len(prompt)] == prompt


def test_mini_several_turns(mini):
    turns = (Turn('human', 'a?'), Turn('gpt', 'b'), Turn('human', 'c?'), Turn('gpt', 'd'))
    encoded = mini.encode(Sample('s', 't', (Plain('red'),), turns), training=True)
    text = mini.codec.backend.decode(encoded.input_ids_L[65:].tolist(), skip_special_tokens=False)
    assert text == 'USER: a? ASSISTANT: b</s> USER: c? ASSISTANT: d</s>'
    kept = encoded.labels_L[encoded.labels_L != IGNORE].tolist()
    assert mini.codec.backend.decode(kept, skip_special_tokens=False) == ' b</s> d</s>'


def test_prompt_length_opens_no_picture(backbone):
    query = Query('q', (Plain('broken'),), (Turn('human', QUESTION),))
    known = backbone.encode(sample(QUESTION), training=False)
    assert backbone.prompt_length(query) == len(known.input_ids_L)
    with pytest.raises(BadImage):
        backbone.encode(query, training=False)


def test_encode_from_many_threads_is_pure(backbone):
    samples = [sample(f'{QUESTION} {number * "again "}', 'a b c' * number) for number in range(40)]
    alone = [backbone.encode(one, training=True) for one in samples]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda one: backbone.encode(one, training=True), samples * 4))
    for number, encoded in enumerate(together):
        want = alone[number % 40]
        assert torch.equal(encoded.input_ids_L, want.input_ids_L) and torch.equal(encoded.labels_L, want.labels_L)
        assert torch.equal(encoded.pixel_values_P, want.pixel_values_P)


def test_prefix_ends_with_the_picture_and_is_shared(backbone):
    first, second = (backbone.encode(sample(text), training=False) for text in ('what?', 'a very different question'))
    end = first.shared_prefix_length
    assert end == second.shared_prefix_length and first.prefix_key == second.prefix_key != ''
    assert first.input_ids_L[end - 1] == IMAGE_ID != first.input_ids_L[end]
    assert torch.equal(first.input_ids_L[:end], second.input_ids_L[:end])
    states = [backbone._hidden(batch_of(backbone, [one], training=False), use_cache=False)[0, :end]
              for one in (sample('what?'), sample('a very different question'))]
    assert (states[0] - states[1]).abs().max() < 1e-5
    other = backbone.encode(sample('what?', images=[Plain('green')]), training=False)
    assert other.prefix_key != first.prefix_key
    text_only = backbone.encode(sample('what?', images=()), training=False)
    assert (text_only.shared_prefix_length, text_only.prefix_key) == (0, '')


@pytest.mark.parametrize('turns, images, training, message', [
    ([('human', '<image> <image> a?'), ('gpt', 'b')], 1, True, '2 <image> tags for 1 pictures'),
    ([('human', 'a <image>?'), ('gpt', 'b')], 0, True, '1 <image> tags for 0 pictures'),
    ([('human', 'a?')], 1, True, 'no answer to learn'),
    ([('human', 'a?'), ('gpt', 'b')], 1, False, 'must end with a human turn'),
    ([('human', 'a?'), ('human', 'b?')], 1, True, "turn 2 is by 'human', expected 'gpt'"),
    ([], 0, True, 'no answer to learn'),
    ([('human', 'long ' * 600)], 1, False, 'the prompt has .* tokens; the model reads at most 512'),
    ([('human', 'a?'), ('gpt', 'b')], 40, True, '40 pictures of .* tokens do not fit backbone.max_length=512'),
])
def test_unusable_records_are_named(backbone, turns, images, training, message):
    record = Sample('rec-7', 't', (Plain('red'),) * images, tuple(Turn(*turn) for turn in turns))
    with pytest.raises(DataError, match=f'record rec-7: .*{message}'):
        backbone.encode(record, training=training)


@pytest.mark.parametrize('texts', [('a?', 'b', 'c?', 'd'), ('a?', 'b', 'c?')])
def test_plain_writes_one_round(tiny_llava_folder, texts):
    backbone = Llava(str(tiny_llava_folder), device='meta', template='plain')
    turns = tuple(Turn(('human', 'gpt')[number % 2], text) for number, text in enumerate(texts))
    with pytest.raises(DataError, match=f"record rec-7: template 'plain' .* has {len(texts)} turns"):
        backbone.encode(Sample('rec-7', 't', (Plain('red'),), turns), training=len(texts) == 4)


def test_training_rows_are_cut(backbone):
    encoded = backbone.encode(sample('a?', 'word ' * 800), training=True)
    assert len(encoded.input_ids_L) == len(encoded.labels_L) == backbone.max_length == 512


def test_two_pictures(backbone):
    two = sample('differ?', 'yes', images=[Plain('red'), Plain('blue')])
    encoded = backbone.encode(two, training=True)
    assert (encoded.input_ids_L == IMAGE_ID).sum() == 2 * backbone.samples.tokens_per_image
    assert encoded.pixel_values_P.shape[0] == 2
    swapped = sample('differ?', 'yes', images=[Plain('blue'), Plain('red')])
    losses = [backbone.forward(batch_of(backbone, [one])).token_loss_N for one in (two, swapped)]
    assert not torch.allclose(*losses)


# --- forward ----------------------------------------------------------------------------------------------------


def test_forward_equals_transformers_own(mini):
    batch = batch_of(mini, MIXED)
    ids_BL = batch.input_ids_BL.masked_fill(batch.input_ids_BL == IMAGE_ID, mini.model.config.image_token_id)
    theirs = mini.model(input_ids=ids_BL, attention_mask=batch.attention_mask_BL, pixel_values=batch.pixel_values_P,
                        labels=batch.labels_BL)
    output = mini.forward(batch)
    keep = batch.labels_BL[:, 1:] != IGNORE
    assert torch.allclose(output.logits_NV, theirs.logits[:, :-1][keep], atol=1e-4)
    assert torch.allclose(output.token_loss_N.mean(), theirs.loss, atol=1e-5)
    assert torch.equal(output.rows_N, keep.nonzero()[:, 0]) and torch.equal(output.labels_N, batch.labels_BL[:, 1:][keep])
    assert output.token_loss_N.dtype == output.logits_NV.dtype == torch.float32


def test_rows_do_not_depend_on_their_company(backbone):
    together = backbone.forward(batch_of(backbone, MIXED))
    for row, one in enumerate(MIXED):
        alone = backbone.forward(batch_of(backbone, [one]))
        assert torch.allclose(alone.token_loss_N, together.token_loss_N[together.rows_N == row], atol=1e-5)


def trained(backbone, part: str):
    module = backbone.model.get_submodule(part)
    return [parameter.requires_grad_() for parameter in module.parameters()]


@pytest.fixture
def projector(backbone):
    parameters = trained(backbone, backbone.projector)
    yield parameters
    backbone.model.requires_grad_(False)
    backbone.model.zero_grad()


def test_arrives_frozen_and_in_evaluation_mode(backbone):
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert not backbone.model.training


@pytest.mark.parametrize('samples', [MIXED, MIXED[1:2]], ids=['pictures', 'text only'])
def test_nothing_labelled_gives_zero_gradients(backbone, projector, samples):
    query = trained(backbone, 'model.language_model.layers.0.self_attn.q_proj')
    output = backbone.forward(batch_of(backbone, samples).without_labels())
    assert output.token_loss_N.shape == (0,) and output.logits_NV.shape[0] == output.rows_N.shape[0] == 0
    output.token_loss_N.sum().backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in projector + query)


def test_text_only_batch_touches_the_projector(backbone, projector):
    loss = backbone.forward(batch_of(backbone, MIXED[1:2])).token_loss_N.sum()
    loss.backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in projector)


def test_text_only_rank_runs_every_module(backbone, projector, monkeypatch):
    """Under ZeRO-3 a rank that skips a module would wait for the others for ever."""
    def modules(samples):
        seen = []
        hooks = [module.register_forward_hook(lambda *_, name=name: seen.append(name))
                 for name, module in backbone.model.named_modules() if name and not list(module.children())]
        backbone.forward(batch_of(backbone, samples)).token_loss_N.sum().backward()
        for hook in hooks:
            hook.remove()
        return seen

    monkeypatch.setattr(dist, 'is_initialized', lambda: True)
    monkeypatch.setattr(dist, 'get_world_size', lambda: 2)
    assert modules(MIXED[1:2]) == modules(MIXED[:1])


def test_tower_has_a_graph_only_when_it_trains(backbone, projector):
    tower = backbone.model.get_submodule(backbone.vision_tower)
    seen = []
    hook = tower.register_forward_hook(lambda module, args, out: seen.append(out.last_hidden_state.requires_grad))
    backbone.forward(batch_of(backbone, MIXED))
    some = tower.encoder.layers[0].mlp.fc1.weight.requires_grad_()
    backbone.forward(batch_of(backbone, MIXED)).token_loss_N.sum().backward()
    hook.remove()
    assert seen == [False, True] and some.grad.any()


def test_what_is_not_read_gets_no_gradient_and_no_adapter(tiny, caplog):
    """The published layout reads the last layer but one."""
    from copy import copy, deepcopy

    backbone = copy(tiny)
    backbone.model = deepcopy(tiny.model)
    tower, last = backbone.model.model.vision_tower, backbone.model.config.vision_config.num_hidden_layers - 1
    assert backbone.unread == (f'model.vision_tower.encoder.layers.{last}', 'model.vision_tower.post_layernorm')
    tower.requires_grad_(True)
    backbone.features(torch.rand(1, *backbone.image_shape)).sum().backward()
    without = {f'model.vision_tower.{name}' for name, one in tower.named_parameters() if one.grad is None}
    assert without == {name for name, _ in backbone.model.named_parameters() if name.startswith(backbone.unread)}
    with caplog.at_level('INFO'):
        targets = backbone.insert_bank(targets='all-linear').targets
    assert [record.getMessage()[:35] for record in caplog.records] == ['6 linears in model.vision_tower.enc']
    inside = [name for name in targets if 'vision_tower' in name]
    assert len(inside) == 6 * last and not any(name.startswith(backbone.unread) for name in targets)


def test_lora_targets_are_the_language_models_linears(backbone):
    import re

    names = [name for name, _ in backbone.model.named_modules() if re.fullmatch(backbone.lora_targets, name)]
    layers = backbone.model.config.text_config.num_hidden_layers
    assert len(names) == 7 * layers
    assert all(isinstance(backbone.model.get_submodule(name), torch.nn.Linear) for name in names)
    assert all(name.startswith(backbone.language_model) for name in names)


# --- precision, checkpointing, saving ---------------------------------------------------------------------------


@pytest.mark.parametrize('checkpointing', [False, True])
def test_bf16_training_step(tiny_llava_folder, checkpointing):
    backbone = Llava(str(tiny_llava_folder), dtype='bfloat16', device='cpu')
    exact = Llava(str(tiny_llava_folder), dtype='float32', device='cpu')
    grads = {}
    for one in (backbone, exact):
        one.set_gradient_checkpointing(checkpointing)
        one.model.train()
        trains = [*trained(one, one.projector), *trained(one, 'model.language_model.layers.0')]
        for parameter in trains:
            parameter.data = parameter.data.float()
        optimizer = torch.optim.AdamW(trains, lr=1e-3)
        before = [parameter.detach().clone() for parameter in trains]
        output = one.forward(batch_of(one, MIXED))
        assert output.token_loss_N.dtype == torch.float32
        output.token_loss_N.mean().backward()
        grads[one.dtype] = torch.cat([parameter.grad.flatten() for parameter in trains])
        optimizer.step()
        assert all(parameter.dtype == torch.float32 for parameter in trains)
        assert all((parameter != old).any() for parameter, old in zip(trains, before, strict=True))
    cosine = torch.cosine_similarity(grads[torch.bfloat16], grads[torch.float32], dim=0)
    assert cosine > 0.99


def test_checkpointing_changes_no_gradient(tiny, request):
    weight = tiny.model.get_parameter('model.language_model.layers.0.self_attn.q_proj.weight').requires_grad_()
    found = []
    tiny.model.train()
    for enabled in (False, True):
        tiny.set_gradient_checkpointing(enabled)
        tiny.forward(batch_of(tiny, MIXED)).token_loss_N.sum().backward()
        found.append(weight.grad.clone())
        weight.grad = None
    tiny.set_gradient_checkpointing(False)
    tiny.model.eval().requires_grad_(False)
    assert torch.allclose(*found, atol=1e-6)


def test_save_and_load_give_the_same(backbone, tmp_path):
    backbone.save(tmp_path)
    again = Llava(str(tmp_path), dtype='float32', device='cpu')
    batch, twin = batch_of(backbone, MIXED), batch_of(again, MIXED)
    assert torch.equal(batch.input_ids_BL, twin.input_ids_BL) and torch.equal(batch.labels_BL, twin.labels_BL)
    assert torch.equal(batch.pixel_values_P, twin.pixel_values_P)
    assert torch.equal(backbone.forward(batch).logits_NV, again.forward(twin).logits_NV)
    assert again.template_name == backbone.template_name and again.eos_ids == backbone.eos_ids


def test_describe(mini):
    about = mini.describe()
    assert about['type'] == 'Llava' and about['tokens_per_image'] == 64 and about['dtype'] == 'float32'
    assert 6e6 < about['parameters'] < 7e6
