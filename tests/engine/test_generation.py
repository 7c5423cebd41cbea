"""Batched generation against transformers' own, one prompt at a time; the batch plan; what leaves and what stops."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageDraw

from coinkit.backbones.memory import DecoderSizes
from coinkit.backbones.turns import IMAGE_ID
from coinkit.engine import generation
from coinkit.engine.generation import Request, decode_batch, default_token_budget, generate, plan_batches, requests_for
from coinkit.types import Sample, Turn

COLOURS = ('red', 'green', 'blue', 'yellow', 'purple', 'orange', 'cyan', 'gray')


@dataclass(frozen=True)
class Disc:
    """A coloured disc on white."""

    colour: str
    size: tuple[int, int] = (64, 64)

    @property
    def key(self) -> str:
        return f'{self.colour}{self.size}'

    def load(self) -> Image.Image:
        image = Image.new('RGB', self.size, 'white')
        ImageDraw.Draw(image).ellipse([20, 20, 44, 44], fill=self.colour)
        return image


def mixed_samples(count: int) -> list[Sample]:
    """One, two and no pictures; questions from 1 to 60 words; one and two turns."""
    questions = ['what is the object in the image?', 'describe', 'how many objects are there?', 'what color is this?',
                 'is there a red circle?\nanswer yes or no.', 'provide the bounding box of the red circle. ' * 6]
    samples = []
    for number in range(count):
        images = tuple(Disc(COLOURS[(number + more) % 8], (64, 64 + 20 * (number % 3)))
                       for more in range((1, 1, 0, 2)[number % 4]))
        text = questions[number % len(questions)] + ' well' * (number % 7)
        earlier = (Turn('human', 'hello?'), Turn('gpt', 'hi')) if number % 5 == 0 else ()
        samples.append(Sample(str(number), 't', images, (*earlier, Turn('human', text))))
    return samples


def batched(backbone, samples, *, max_new_tokens=12, token_budget=1500, **options) -> dict[int, str]:
    answers: dict[int, str] = {}
    requests = requests_for(backbone, samples, max_new_tokens=max_new_tokens)
    plan = plan_batches([request.length for request in requests], token_budget=token_budget)
    generate(backbone, requests, plan=plan, on_batch=answers.update, **options)
    return answers


def alone_ids(backbone, sample, max_new_tokens: int) -> list[int]:
    """Transformers' greedy generation of one prompt."""
    encoded = backbone.encode(sample, training=False)
    ids_BL = encoded.input_ids_L[None].masked_fill(encoded.input_ids_L == IMAGE_ID, backbone.model.config.image_token_id)
    pixels = {} if encoded.pixel_values_P is None else {'pixel_values': encoded.pixel_values_P}
    out_BL = backbone.model.generate(input_ids=ids_BL, attention_mask=torch.ones_like(ids_BL), do_sample=False, **pixels,
                                     max_new_tokens=max_new_tokens, eos_token_id=sorted(backbone.eos_ids),
                                     pad_token_id=0)
    ids = out_BL[0, ids_BL.shape[1]:].tolist()
    return ids[:-1] if ids and ids[-1] in backbone.eos_ids else ids


@pytest.fixture(scope='module')
def references(mini, tiny):
    """Transformers' ids of the 44 mixed samples, by checkpoint."""
    backbones = {one.checkpoint: one for one in (mini, tiny)}
    return cache(lambda name: [alone_ids(backbones[name], one, 12) for one in mixed_samples(44)])


@pytest.mark.parametrize('check_every', [1, 4])
def test_equals_one_by_one_token_for_token(backbone, references, check_every):
    encoded = [backbone.encode(one, training=False) for one in mixed_samples(44)]
    lengths = [len(one.input_ids_L) for one in encoded]
    assert max(lengths) > 1.5 * min(lengths)
    found = {}
    plan = plan_batches(lengths, token_budget=1500)
    assert max(len(batch) for batch in plan) >= 6
    for positions in plan:
        batch = backbone.collate([encoded[i] for i in positions], padding_side='left')
        answers = decode_batch(backbone, batch, [12] * len(positions), check_every=check_every)
        found.update(zip(positions, answers, strict=True))
    for number, ids in enumerate(references(backbone.checkpoint)):
        assert found[number] == ids, number
    if backbone.template_name == 'mini':  # rows that end early and rows that do not
        assert len({len(ids) for ids in found.values()}) > 3


@pytest.mark.parametrize('workers, token_budget', [(0, 1), (1, 700), (3, 100_000)])
def test_texts_do_not_depend_on_the_plan(mini, workers, token_budget):
    samples = mixed_samples(16)
    assert batched(mini, samples, workers=workers, token_budget=token_budget) == batched(mini, samples, workers=0)


def test_rows_leave_the_batch(mini, monkeypatch):
    samples = mixed_samples(16)
    rows: list[int] = []
    step = mini.decode_step

    def counted(ids_B, mask_BL, cache):
        assert len(ids_B) == len(mask_BL) == cache.layers[0].keys.shape[0]
        rows.append(len(ids_B))
        return step(ids_B, mask_BL, cache)

    monkeypatch.setattr(mini, 'decode_step', counted)
    answers = batched(mini, samples, token_budget=100_000, max_new_tokens=14)
    assert rows[0] == 16 and rows[-1] < 16 and rows == sorted(rows, reverse=True)
    monkeypatch.setattr(generation, 'COMPACT_BELOW', 0.0)
    rows.clear()
    assert batched(mini, samples, token_budget=100_000, max_new_tokens=14) == answers
    assert set(rows) == {16}


def test_one_wait_for_the_device_a_block(mini, monkeypatch):
    """Token ids come to the host once per block of steps, and nothing else does."""
    waits, steps = [], []
    to_list, step = torch.Tensor.tolist, mini.decode_step
    batch = mini.collate([mini.encode(one, training=False) for one in mixed_samples(6)], padding_side='left')
    monkeypatch.setattr(torch.Tensor, 'tolist', lambda self: waits.append(self.shape) or to_list(self))
    monkeypatch.setattr(torch.Tensor, 'item', lambda self: pytest.fail('a wait for one number'))
    monkeypatch.setattr(mini, 'decode_step', lambda *args: steps.append(1) or step(*args))
    decode_batch(mini, batch, [16] * 6, check_every=4)
    assert len(waits) - 1 <= (len(steps) + 1 + 3) // 4  # the first is the prompt lengths


def test_limits_are_each_rows_own(backbone):
    samples = mixed_samples(6)
    limits = [0, 1, 2, 5, 3, 12]
    batch = backbone.collate([backbone.encode(one, training=False) for one in samples], padding_side='left')
    for check_every in (1, 3):
        answers = decode_batch(backbone, batch, limits, check_every=check_every)
        assert answers == [alone_ids(backbone, one, limit) if limit else []
                           for one, limit in zip(samples, limits, strict=True)]


def test_stops_at_the_end_of_the_context(tiny, monkeypatch):
    encoded = tiny.encode(mixed_samples(1)[0], training=False)
    monkeypatch.setattr(tiny, 'context_length', len(encoded.input_ids_L) + 3)
    batch = tiny.collate([encoded], padding_side='left')
    assert len(decode_batch(tiny, batch, [50])[0]) <= 3


def test_a_batch_of_which_nothing_is_asked(tiny):
    batch = tiny.collate([tiny.encode(mixed_samples(1)[0], training=False)], padding_side='left')
    assert decode_batch(tiny, batch, [0]) == [[]]


def test_batches_are_reported_as_they_end_and_part_of_a_plan_may_run(mini):
    requests = requests_for(mini, mixed_samples(12), max_new_tokens=4)
    plan = plan_batches([request.length for request in requests], token_budget=500)
    seen: list[list[int]] = []
    generate(mini, requests, plan=plan[1:3], on_batch=lambda pairs: seen.append([index for index, _ in pairs]))
    assert seen == [list(batch) for batch in plan[1:3]]


def test_an_error_in_a_worker_stops_it(mini):
    def fail():
        raise OSError('no such picture')

    with pytest.raises(OSError, match='no such picture'):
        generate(mini, [Request(0, 100, fail, 4)], plan=[[0]], on_batch=print)


def test_training_mode_is_put_back(mini):
    mini.model.train()
    batched(mini, mixed_samples(2), max_new_tokens=1)
    assert mini.model.training
    mini.model.eval()


# --- plan -------------------------------------------------------------------------------------------------------


def test_plan_is_longest_first_within_the_budget():
    lengths = [3, 50, 7, 50, 20, 1, 33, 120, 8]
    plan = plan_batches(lengths, token_budget=100)
    assert sorted(position for batch in plan for position in batch) == list(range(9))
    order = [position for batch in plan for position in batch]
    assert order == [7, 1, 3, 6, 4, 8, 2, 0, 5]
    assert plan[0] == [7]  # longer than the budget: alone
    assert all(lengths[batch[0]] * len(batch) <= 100 for batch in plan[1:])
    assert plan == plan_batches(list(lengths), token_budget=100)
    assert plan_batches([], token_budget=5) == []
    with pytest.raises(ValueError, match='token_budget is 0'):
        plan_batches(lengths, token_budget=0)


def test_default_budget_on_a_cpu_is_a_constant(tiny, mini):
    assert default_token_budget(tiny) == default_token_budget(mini) == generation.CPU_TOKEN_BUDGET


def test_default_budget_on_a_gpu_follows_the_free_memory(monkeypatch):
    """Of a 7B model's 62 GB, half is used at about 0.8 MB a prompt token."""
    sizes = DecoderSizes(layers=32, hidden=4096, intermediate=11008, kv_width=4096)
    gpu = SimpleNamespace(device=torch.device('cuda'), decoder_sizes=lambda: sizes)
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (62 * 10**9, 80 * 10**9))
    assert 30_000 < default_token_budget(gpu) < 45_000
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (10**6, 80 * 10**9))
    assert default_token_budget(gpu) == generation.CPU_TOKEN_BUDGET
