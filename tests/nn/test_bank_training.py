"""The bank where training happens: precision, dropout, gradient checkpointing, quantised bases, DDP's view of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from coinkit.errors import RunError
from coinkit.nn.bank import AdapterBank


class Int8Linear(nn.Module):
    """A quantised linear as libraries make them: integer weights, scales, its own forward, no float weight."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        scale_O = linear.weight.detach().abs().amax(1) / 127
        self.register_buffer('scale_O', scale_O)
        self.register_buffer('weight_OD', (linear.weight.detach() / scale_O[:, None]).round().to(torch.int8))

    def forward(self, x_XD: Tensor) -> Tensor:
        return F.linear(x_XD, (self.weight_OD * self.scale_O[:, None]).to(x_XD.dtype))


class Tower(nn.Module):
    """Two adapted linears, recomputed in backward when `reentrant` is not None."""

    def __init__(self, reentrant: bool | None = None, dtype: torch.dtype = torch.float32, width: int = 16):
        super().__init__()
        self.up, self.down = nn.Linear(width, 32, dtype=dtype), nn.Linear(32, width, dtype=dtype)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        if self.reentrant is None:
            return self.block(x)
        return checkpoint(self.block, x, use_reentrant=self.reentrant)

    def block(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(x)))


def tower(*, gate='softmax', frozen=(), base=torch.float32, dtype=torch.float32, reentrant=None, **options):
    torch.manual_seed(0)
    model = Tower(reentrant, base)
    bank = AdapterBank(model, ['up', 'down'], gate=gate, dtype=dtype, **options)
    bank.add(['a', 'b', 'c'], rank=4, scale=2.0, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    bank.load_state_dict({key: torch.randn(value.shape, generator=generator) * 0.2
                          for key, value in bank.state_dict().items()})
    for name in frozen:
        bank.freeze(name)
    return model, bank


def gradients(model, bank, x):
    for parameter in bank.trainable_parameters().values():
        parameter.grad = None
    x = x.clone().requires_grad_()
    model(x).float().square().mean().backward()
    return {'x': x.grad, **{name: parameter.grad for name, parameter in bank.trainable_parameters().items()}}


@pytest.mark.parametrize('reentrant', [True, False])
@pytest.mark.parametrize('mode', ['shared', 'per_expert'])
def test_gradient_checkpointing_gives_equal_gradients(reentrant, mode):
    x = torch.randn(2, 5, 16)
    results = []
    for choice in (None, reentrant):
        model, bank = tower(reentrant=choice, dropout=0.2, dropout_mode=mode, frozen=['b'])
        torch.manual_seed(7)
        results.append(gradients(model, bank, x))
    assert results[0].keys() == results[1].keys()
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])


def test_a_bank_changed_before_recomputation_is_refused():
    model, bank = tower(gate='none', reentrant=False)
    with bank.sample_gate(torch.tensor([[1.0, 0.0, 0.5]])):
        loss = model(torch.randn(2, 5, 16, requires_grad=True)).sum()
    with pytest.raises(RunError, match='recomputation'):
        loss.backward()
    loss = model(torch.randn(2, 5, 16, requires_grad=True)).sum()
    bank.set_active(['a'])
    with pytest.raises(RunError, match='recomputation'):
        loss.backward()


def test_a_teacher_pass_between_forward_and_backward_is_fine():
    model, bank = tower(reentrant=False)
    x = torch.randn(2, 5, 16)
    wanted = gradients(model, bank, x)
    for parameter in bank.trainable_parameters().values():
        parameter.grad = None
    loss = model(x.clone().requires_grad_()).square().mean()
    with bank.disabled(), torch.no_grad():
        model(x)
    loss.backward()
    assert all(torch.equal(wanted[name], p.grad) for name, p in bank.trainable_parameters().items())


@pytest.mark.parametrize('reentrant', [None, False])
@pytest.mark.parametrize('autocast', [True, False])
@pytest.mark.parametrize('frozen', [(), ('b',), ('a', 'b', 'c')])
def test_bfloat16_with_and_without_autocast(reentrant, autocast, frozen):
    base_dtype = torch.float32 if autocast else torch.bfloat16
    model, bank = tower(reentrant=reentrant, base=base_dtype, frozen=frozen)
    exact, exact_bank = tower(frozen=frozen)
    exact.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
    x = torch.randn(3, 5, 16)
    wanted = gradients(exact, exact_bank, x)
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        bare, out = model.up.base(x.to(base_dtype)), model.up(x.to(base_dtype))
        assert out.dtype == bare.dtype == torch.bfloat16
        got = gradients(model, bank, x.to(base_dtype))
    for name, grad in got.items():
        assert grad.dtype == (base_dtype if name == 'x' else torch.float32)
        assert (grad.float() - wanted[name]).norm() < 0.03 * wanted[name].norm() + 1e-6, name


def test_small_steps_move_the_masters_under_a_bfloat16_base():
    """lr 2e-6 is far below the spacing of bfloat16 numbers: weights kept in bfloat16 stall, fp32 masters follow fp32.

    Every step sees new data, as in training: on one fixed batch Adam only takes signs, and a gradient near zero may
    flip its sign for any rounding.
    """
    def run(base_dtype, bank_dtype=torch.float32):
        model, bank = tower(dtype=bank_dtype)
        model.to(base_dtype)
        start = {name: p.detach().clone() for name, p in bank.trainable_parameters().items()}
        optimizer = torch.optim.AdamW(bank.trainable_parameters().values(), lr=2e-6, weight_decay=0.0)
        generator = torch.Generator().manual_seed(4)
        teacher = torch.randn(16, 16, generator=generator)
        for _ in range(200):
            x = torch.randn(8, 8, 16, generator=generator)
            optimizer.zero_grad()
            (model(x.to(base_dtype)).float() - x @ teacher).square().mean().backward()
            optimizer.step()
        moved = [(p.detach() - start[name]).flatten() for name, p in bank.trainable_parameters().items()]
        return torch.cat(moved).float()

    full, mixed = run(torch.float32), run(torch.bfloat16)
    assert full.abs().median() > 2e-4
    assert (mixed - full).norm() < 0.02 * full.norm()
    stalled = run(torch.bfloat16, torch.bfloat16)
    assert (stalled - full).norm() > 0.5 * full.norm()


def test_frozen_blocks_are_kept_in_fp32_though_computed_in_bfloat16():
    model, bank = tower(gate='none', base=torch.bfloat16)
    before, x = bank.state_dict(), torch.randn(2, 5, 16, dtype=torch.bfloat16)
    live = model(x)
    for name in ('a', 'b', 'c'):
        bank.freeze(name)
    assert model.up.frozen_A_RD.dtype == torch.bfloat16 and bank.trainable_parameters() == {}
    assert torch.equal(model(x), live)
    after = bank.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    model.to('meta')
    assert model.up.frozen_A_RD.device.type == 'meta'


@pytest.mark.parametrize('gate', ['none', 'softmax'])
def test_quantised_base(gate):
    torch.manual_seed(0)
    quantised = Int8Linear(nn.Linear(16, 12))
    plain = nn.Linear(16, 12, bias=False)
    plain.weight.data = quantised.weight_OD * quantised.scale_O[:, None]
    outputs = []
    for base in (quantised, plain):
        model = nn.Sequential(base)
        bank = AdapterBank(model, ['0'], gate=gate)
        bank.add(['a', 'b'], rank=3, scale=2.0)
        generator = torch.Generator().manual_seed(3)
        state = bank.state_dict()
        bank.load_state_dict({key: torch.randn(value.shape, generator=generator) for key, value in state.items()})
        outputs.append(gradients(model, bank, torch.linspace(-1, 1, 96).view(2, 3, 16)))
        if base is quantised and gate == 'none':
            with pytest.raises(RunError, match=r"'0'.*Int8Linear.*quantised"):
                bank.merge('a')
            assert list(bank.blocks) == ['a', 'b']
    for key in outputs[0]:
        torch.testing.assert_close(outputs[0][key], outputs[1][key])


def linear_bank(mode, ranks=(2, 2), dropout=0.5):
    model = nn.Sequential(nn.Linear(64, 8, bias=False))
    model[0].weight.data.zero_()
    bank = AdapterBank(model, ['0'], dropout=dropout, dropout_mode=mode)
    for i, rank in enumerate(ranks):
        bank.add(f'e{i}', rank=rank, scale=1.0)
    state = bank.state_dict()
    for i in range(len(ranks)):  # block i writes the sum of its masked inputs to output i
        state[f'0.e{i}.A'][:] = 1.0 / ranks[i]
        state[f'0.e{i}.B'][i] = 1.0
    bank.load_state_dict(state)
    return model, bank


@pytest.mark.parametrize('ranks', [(2, 2), (1, 3)])
@pytest.mark.parametrize('mode', ['shared', 'per_expert'])
def test_dropout_masks(mode, ranks):
    torch.manual_seed(0)
    model, _ = linear_bank(mode, ranks)
    x = torch.ones(20, 50, 64)
    y = model(x)[..., :2].detach()
    torch.testing.assert_close(y.mean((0, 1)), torch.full((2,), 64.0), rtol=0.01, atol=0)
    torch.testing.assert_close(y.std((0, 1)), torch.full((2,), 8.0), rtol=0.1, atol=0)  # sqrt(64 * p / (1 - p))
    correlation = torch.corrcoef(y.flatten(0, 1).T)[0, 1]
    assert correlation > 0.999 if mode == 'shared' else correlation.abs() < 0.1
    model.eval()
    torch.testing.assert_close(model(x)[..., :2], torch.full((20, 50, 2), 64.0))


@pytest.mark.parametrize('mode', ['shared', 'per_expert'])
def test_the_router_sees_the_input_without_dropout(mode):
    torch.manual_seed(0)
    model, bank = tower(dropout=0.9, dropout_mode=mode)
    model.up.base.weight.data.zero_()
    x = torch.randn(2, 5, 16)
    seen = []
    original = F.linear
    layer = model.up

    def spy(inputs, weight, bias=None):
        if weight.shape == layer.router.shape:
            seen.append(inputs)
        return original(inputs, weight, bias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, 'linear', spy)
        layer(x)
    assert len(seen) == 1 and torch.equal(seen[0], x)


def test_a_frozen_bank_trains_nothing_and_still_passes_gradients():
    model, bank = tower(frozen=['a', 'b', 'c'])
    assert not any(parameter.requires_grad for parameter in model.parameters())
    x = torch.randn(2, 5, 16, requires_grad=True)
    model(x).sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize('gate', ['none', 'softmax'])
def test_the_forward_has_no_loop_over_blocks(gate):
    """The number of operations does not depend on the number of blocks."""
    counts = []
    for number in (2, 8):
        model = nn.Sequential(nn.Linear(16, 16))
        bank = AdapterBank(model, ['0'], gate=gate, dropout=0.1)
        bank.add([f'e{i}' for i in range(number)], rank=16 // number, scale=1.0)
        with torch.profiler.profile() as profile:
            model(torch.randn(4, 16))
        counts.append(sum(event.count for event in profile.key_averages() if event.key.startswith('aten::')))
    assert counts[0] == counts[1]


def test_compiles_without_breaking_the_graph():
    model, bank = tower()
    x = torch.randn(2, 5, 16)
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize('frozen', [(), ('b',)])
def test_fixed_values_are_cast_once_and_never_stale(frozen):
    model, bank = tower(base=torch.bfloat16, frozen=frozen)
    model.eval()
    x = torch.randn(2, 5, 16, dtype=torch.bfloat16)
    y = model(x)
    with bank.fixed(), torch.no_grad():
        assert torch.equal(model(x), y)
        first = model.up._kept
        assert torch.equal(model(x), y) and model.up._kept is first and first is not None
        bank.reinit('a', torch.Generator().manual_seed(9))
        changed = model(x)
    assert model.up._kept is None and not torch.equal(changed, y) and torch.equal(model(x), changed)
    with bank.fixed():
        gradients(model, bank, x)  # with gradients nothing is kept
        assert model.up._kept is None
