"""What every backbone on a transformers model promises the engine, on seven tiny models of as many kinds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch
import torch.distributed as dist
from peft import PeftModel

from coinkit.backbones.peft_io import export_peft, import_peft
from coinkit.backbones.transformers_model import CAUSAL
from coinkit.data.batch import IGNORE
from coinkit.engine.generation import decode_batch, requests_for
from coinkit.errors import BadImage, DataError
from tests.backbones.tiny_transformers import (
    KINDS,
    MIXED,
    ONE_EACH,
    Plain,
    asked,
    batch_of,
    load,
    official,
    prefix_states,
    sample,
    samples_for,
)

pytestmark = pytest.mark.parametrize('kind', KINDS)
LIMITS = [9, 4, 7, 6]


@pytest.fixture
def backbone(backbone_of, kind):
    return backbone_of(kind)


# --- samples ----------------------------------------------------------------------------------------------------


def test_labels_are_the_answers(backbone):
    tokenizer = backbone.processor.tokenizer
    for one in samples_for(backbone):
        encoded = backbone.encode(one, training=True)
        supervised = encoded.labels_L != IGNORE
        assert torch.equal(encoded.labels_L[supervised], encoded.input_ids_L[supervised])
        assert tokenizer.decode(encoded.labels_L[supervised]).strip() == one.turns[1].text + '<|im_end|>'
        prompt = backbone.encode(asked(one), training=False)
        assert (prompt.labels_L == IGNORE).all()
        begin = int(supervised.nonzero()[0])  # training continues exactly the prompt of generation
        assert encoded.input_ids_L[:begin].tolist() == prompt.input_ids_L.tolist()


def test_prompt_length_opens_no_picture(backbone):
    @dataclass(frozen=True)
    class Closed(Plain):
        def load(self):
            raise AssertionError('opened')

    for one in samples_for(backbone):
        closed = sample(one.turns[0].text, images=[Closed(image.colour, image.size) for image in one.images])
        assert backbone.prompt_length(closed) == len(backbone.encode(asked(one), training=False).input_ids_L)


def test_threads_encode_the_same(backbone):
    samples = samples_for(backbone) * 3
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda one: backbone.encode(one, training=True), samples))
    for one, encoded in zip(samples, together, strict=True):
        alone = backbone.encode(one, training=True)
        assert torch.equal(alone.input_ids_L, encoded.input_ids_L) and torch.equal(alone.labels_L, encoded.labels_L)
        assert alone.prefix_key == encoded.prefix_key


def test_long_rows(folder_of, kind):
    backbone = load(folder_of(kind), max_length=100)
    cut = backbone.encode(sample('what is it?', 'red ' * 100), training=True)
    assert len(cut.input_ids_L) == len(cut.labels_L) == 100 and cut.labels_L[-1] != IGNORE
    batch_of(backbone, [sample('what is it?', 'red ' * 100), sample('what is it?', 'red')])
    with pytest.raises(DataError, match=r"record far: .*2048"):
        backbone.encode(sample('word ' * 2100, name='far'), training=False)
    short = load(folder_of(kind), max_length=2)
    with pytest.raises(DataError, match='record s: its 1 pictures do not fit backbone.max_length=2'):
        short.encode(ONE_EACH[0], training=True)


def test_records_that_cannot_be_read(backbone):
    with pytest.raises(DataError, match='record s: 2 <image> tags for 1 pictures'):
        backbone.encode(sample('<image> and <image>', 'red'), training=True)
    with pytest.raises(BadImage, match=r'broken\.png'):
        backbone.encode(sample('what?', 'red', images=[Plain('broken')]), training=True)
    with pytest.raises(DataError, match='record s: has no answer'):
        backbone.encode(sample('what?'), training=True)


# --- model ------------------------------------------------------------------------------------------------------


def test_forward_equals_transformers(backbone):
    batch = batch_of(backbone, samples_for(backbone))
    with torch.no_grad():
        output, theirs = backbone.forward(batch), backbone.model(**official(batch), labels=batch.labels_BL)
    logits_NV = theirs.logits[:, :-1][batch.labels_BL[:, 1:] != IGNORE]
    assert (output.logits_NV - logits_NV).abs().max() <= 1e-5
    assert abs(output.token_loss_N.mean() - theirs.loss) <= 1e-5
    assert output.rows_N.bincount().tolist() == [len(one.labels_L[one.labels_L != IGNORE]) for one in (
        backbone.encode(each, training=True) for each in samples_for(backbone))]


def test_the_head_sees_labelled_positions_only(backbone):
    batch, seen = batch_of(backbone, samples_for(backbone)), []
    head = backbone.model.get_output_embeddings()
    hook = head.register_forward_hook(lambda _, __, out: seen.append(out.numel() // out.shape[-1]))
    backbone.forward(batch)
    backbone.prefill(batch_of(backbone, [asked(one) for one in samples_for(backbone)], training=False))
    hook.remove()
    assert seen == [batch.num_label_tokens(), len(samples_for(backbone))]


def test_generation_equals_one_by_one_and_transformers(backbone):
    encoded = [backbone.encode(asked(one), training=False) for one in samples_for(backbone)]
    together = decode_batch(backbone, backbone.collate(encoded, padding_side='left'), LIMITS[:len(encoded)])
    for one, limit, answer in zip(encoded, LIMITS, together, strict=False):
        single = backbone.collate([one], padding_side='left')
        assert decode_batch(backbone, single, [limit]) == [answer]
        theirs = backbone.model.generate(**official(single), max_new_tokens=limit, do_sample=False, pad_token_id=0,
                                         eos_token_id=sorted(backbone.eos_ids))[0]
        written = [token for token in theirs[-len(answer):].tolist() if token not in backbone.eos_ids] if answer else []
        assert written == answer or theirs.tolist()[-1] in backbone.eos_ids
    assert len({len(one) for one in together}) > 1  # rows left the batch at different times


def test_requests_need_no_picture(backbone):
    requests = requests_for(backbone, [asked(one) for one in samples_for(backbone)], max_new_tokens=3)
    assert [one.length for one in requests] == [len(one.encode().input_ids_L) for one in requests]


def test_shared_prefix(backbone, kind):
    """Hidden states up to the last picture are the same for two questions, wherever that is claimed."""
    (first, second), states = prefix_states(backbone)
    if kind not in CAUSAL:
        assert first.shared_prefix_length == 0 and first.prefix_key == ''
        assert not torch.allclose(states[0][:4], states[1][:4])  # the Q-Former has read the question
        return
    length = first.shared_prefix_length
    assert length == second.shared_prefix_length > 4 and first.prefix_key == second.prefix_key
    assert torch.equal(first.input_ids_L[:length], second.input_ids_L[:length])
    assert (states[0][:length] - states[1][:length]).abs().max() < 1e-5
    other = backbone.encode(sample('what is it?', images=[Plain('blue')]), training=False)
    assert other.prefix_key != first.prefix_key


# --- training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('checkpointing', [False, True])
def test_bf16_step_changes_only_the_bank(folder_of, kind, checkpointing):
    backbone = load(folder_of(kind), dtype='bfloat16')
    bank = backbone.insert_bank(dropout=0.05)
    assert all(name.startswith(f'{backbone.language_model}.') for name in bank.targets) and len(bank.targets) == 14
    bank.add('task', rank=2, scale=1.0, init='normal')
    backbone.set_gradient_checkpointing(checkpointing)
    backbone.model.train()
    before = {name: parameter.detach().clone() for name, parameter in backbone.model.named_parameters()}
    trains = [parameter for parameter in backbone.model.parameters() if parameter.requires_grad]
    assert {parameter.dtype for parameter in trains} == {torch.float32}
    optimizer = torch.optim.AdamW(trains, lr=1e-2)
    for _ in range(2):  # B is zero before the first step
        optimizer.zero_grad()
        backbone.forward(batch_of(backbone, samples_for(backbone))).token_loss_N.mean().backward()
        optimizer.step()
    changed = {name for name, parameter in backbone.model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {name for name, parameter in backbone.model.named_parameters() if parameter.requires_grad}


def test_checkpointing_changes_no_gradient(folder_of, kind):
    backbone, found = load(folder_of(kind)), []
    name = next(name for name, _ in backbone.decoder.named_parameters() if name.endswith('0.self_attn.q_proj.weight'))
    weight = backbone.decoder.get_parameter(name).requires_grad_()
    backbone.model.train()
    for enabled in (False, True):
        backbone.set_gradient_checkpointing(enabled)
        backbone.forward(batch_of(backbone, samples_for(backbone))).token_loss_N.sum().backward()
        found.append(weight.grad.clone())
        weight.grad = None
    assert torch.allclose(*found, atol=1e-6) and found[0].abs().max() > 0


def test_text_only_batches_reach_the_projector(folder_of, kind, monkeypatch):
    """With gradients of zero, not none; in a distributed run the tower runs in any case."""
    backbone = load(folder_of(kind))
    if backbone.samples.reads_instruction:
        with pytest.raises(DataError, match='0 pictures and 1 questions'):
            backbone.encode(MIXED[2], training=True)
        return
    tower, runs = backbone.model.get_submodule(backbone.vision_tower), []
    tower.register_forward_hook(lambda *_: runs.append(1))
    batch = batch_of(backbone, [MIXED[2]])
    plain = backbone.forward(batch).logits_NV
    assert not runs
    projector = backbone.model.get_submodule(backbone.projector).requires_grad_()
    output = backbone.forward(batch)
    output.token_loss_N.sum().backward()
    assert runs and all((parameter.grad == 0).all() for parameter in projector.parameters())
    assert torch.equal(output.logits_NV, plain)
    projector.requires_grad_(False)
    monkeypatch.setattr(dist, 'is_initialized', lambda: True)
    monkeypatch.setattr(dist, 'get_world_size', lambda: 2)
    with torch.no_grad():
        backbone.forward(batch.without_labels())
    assert len(runs) == 2


def test_lora_everywhere(folder_of, kind):
    backbone = load(folder_of(kind), lora_scope='all')
    targets = backbone.insert_bank().targets
    assert any(name.startswith(f'{backbone.vision_tower}.') for name in targets)
    assert backbone.parts.head not in targets
    chosen = load(folder_of(kind), lora_targets=['q_proj'])
    assert {name.rpartition('.')[2] for name in chosen.insert_bank().targets} == {'q_proj'}


# --- folders ----------------------------------------------------------------------------------------------------


def test_save_and_load_give_the_same(backbone, tmp_path, kind):
    backbone.save(tmp_path / kind)
    again = load(tmp_path / kind)
    batch, twin = batch_of(backbone, samples_for(backbone)), batch_of(again, samples_for(backbone))
    assert torch.equal(batch.input_ids_BL, twin.input_ids_BL) and torch.equal(batch.labels_BL, twin.labels_BL)
    assert torch.equal(backbone.forward(batch).logits_NV, again.forward(twin).logits_NV)
    assert again.eos_ids == backbone.eos_ids


def test_a_block_leaves_for_peft_and_comes_back(folder_of, tmp_path, kind):
    backbone = load(folder_of(kind))
    bank = backbone.insert_bank()
    bank.add('task', rank=2, scale=2.0)
    bank.load_state_dict({name: torch.randn_like(value) * 0.1 for name, value in bank.state_dict().items()})
    batch = batch_of(backbone, samples_for(backbone))
    ours = backbone.forward(batch).logits_NV
    export_peft(bank, tmp_path)
    other = load(folder_of(kind))
    other.model = PeftModel.from_pretrained(other.model, str(tmp_path)).base_model.model
    assert (other.forward(batch).logits_NV - ours).abs().max() < 1e-5
    third = load(folder_of(kind))
    import_peft(third.model, tmp_path, block='task')
    assert (third.forward(batch).logits_NV - ours).abs().max() < 1e-5


def test_sizes_without_weights(folder_of, kind):
    shapes = load(folder_of(kind), device='meta', dtype='bfloat16')
    assert {parameter.device.type for parameter in shapes.model.parameters()} == {'meta'}
    bytes_ = shapes.estimate_bytes(training=True, trained_parameters=1000)
    assert bytes_['weights'] == 2 * shapes.describe()['parameters'] and bytes_['optimizer'] == 16000
    random, twin = (load(folder_of(kind), init_seed=3) for _ in range(2))
    assert torch.equal(random.model.get_output_embeddings().weight, twin.model.get_output_embeddings().weight)
    assert random.describe()['layers'] == 2 and random.context_length == 2048
