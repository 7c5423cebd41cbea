"""The bank against the plain formula in float64, and what its blocks do."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coinkit.errors import ConfigError, RunError
from coinkit.nn.bank import AdapterBank
from coinkit.nn.bank_checks import split_rank

D, OUT = 7, 5


def make(*, gate='none', blocks=(('a', 3, 2.0, True), ('b', 3, 2.0, True)), dtype=torch.float64, **options):
    """A one-layer model whose blocks hold random A, B and router rows."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(D, OUT, dtype=dtype))
    bank = AdapterBank(model, ['0'], gate=gate, **options,
                       dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    for name, rank, scale, trainable in blocks:
        bank.add(name, rank=rank, scale=scale, trainable=trainable)
    fill(bank)
    return model, bank


def fill(bank, seed=1):
    generator = torch.Generator().manual_seed(seed)
    state = bank.state_dict()
    bank.load_state_dict({key: torch.randn(value.shape, generator=generator, dtype=value.dtype)
                          for key, value in state.items()})


def formula(model, bank, x, weights=None):
    """sum_i g_i s_i B_i A_i x, one block at a time."""
    state, y = bank.state_dict(), model[0].base(x)
    active = list(bank.active)
    if bank.gate == 'softmax':
        rows = [list(bank.blocks).index(name) for name in active]
        weights = F.softmax(x @ state['0.router'][rows].T, -1)
    for i, name in enumerate(active):
        delta = x @ state[f'0.{name}.A'].T @ state[f'0.{name}.B'].T * bank.blocks[name].scale
        y = y + (delta if weights is None else delta * weights[..., i:i + 1])
    return y


EQUAL = (('a', 3, 2.0, True), ('b', 3, 2.0, True), ('c', 3, 2.0, True))
MIXED = (('a', 2, 2.0, True), ('b', 4, 0.5, False), ('c', 1, 3.0, True), ('d', 3, 1.0, False))


@pytest.mark.parametrize('gate', ['none', 'softmax'])
@pytest.mark.parametrize('blocks', [EQUAL[:1], EQUAL, MIXED, tuple((n, r, s, False) for n, r, s, _ in MIXED)])
@pytest.mark.parametrize('shape', [(D,), (4, D), (2, 3, D)])
def test_forward_is_the_formula(gate, blocks, shape):
    model, bank = make(gate=gate, blocks=blocks)
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(model(x), formula(model, bank, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('gate', ['none', 'softmax'])
def test_gradients_are_the_formulas(gate):
    model, bank = make(gate=gate, blocks=MIXED)
    x = torch.randn(2, 3, D, dtype=torch.float64, requires_grad=True)
    parameters = list(bank.trainable_parameters().values())
    assert torch.autograd.gradcheck(lambda x, *_: model(x), (x, *parameters))


@pytest.mark.parametrize('blocks', [EQUAL, MIXED])
@pytest.mark.parametrize('rows', [1, 2])
def test_sample_gate_weighs_every_row(blocks, rows):
    model, bank = make(blocks=blocks)
    x, weights = torch.randn(2, 3, D, dtype=torch.float64), torch.rand(rows, len(blocks), dtype=torch.float64)
    with bank.sample_gate(weights):
        y = model(x)
    torch.testing.assert_close(y, formula(model, bank, x, weights[:, None]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model(x), formula(model, bank, x), rtol=1e-12, atol=1e-12)


def test_one_hot_sample_gate_equals_a_swap():
    model, bank = make(blocks=MIXED)
    x = torch.randn(2, 3, D, dtype=torch.float64)
    with bank.sample_gate(torch.tensor([[0, 0, 1, 0]], dtype=torch.float64)):
        gated = model(x)
    bank.set_active(['c'])
    torch.testing.assert_close(model(x), gated, rtol=1e-12, atol=1e-12)


def test_sample_gate_refuses_what_cannot_be_meant():
    model, bank = make()
    with pytest.raises(RunError, match=r'shape \(batch, 2\)'), bank.sample_gate(torch.ones(2, 3)):
        pass
    with bank.sample_gate(torch.ones(3, 2, dtype=torch.float64)), pytest.raises(RunError, match='3 samples'):
        model(torch.randn(2, 4, D, dtype=torch.float64))
    _, routed = make(gate='softmax')
    with pytest.raises(RunError, match="gate='none'"), routed.sample_gate(torch.ones(1, 2)):
        pass


def test_moelora_closed_form():
    model = nn.Sequential(nn.Linear(2, 2, bias=False, dtype=torch.float64))
    model[0].weight.data = torch.eye(2, dtype=torch.float64)
    bank = AdapterBank(model, ['0'], gate='softmax', dtype=torch.float64)
    bank.add(['1', '2'], rank=1, scale=4 / 2)
    values = {'0.1.A': [[1, 1]], '0.2.A': [[1, -1]], '0.1.B': [[1], [0]], '0.2.B': [[0], [2]],
              '0.router': [[0, 0], [math.log(3), 0]]}
    bank.load_state_dict({key: torch.tensor(value, dtype=torch.float64) for key, value in values.items()})
    y = model(torch.tensor([[1.0, 2.0]], dtype=torch.float64))
    torch.testing.assert_close(y, torch.tensor([[2.5, -1.0]], dtype=torch.float64), rtol=0, atol=1e-12)


def test_one_routed_expert_is_plain_lora():
    x = torch.randn(2, 3, D, dtype=torch.float64)
    routed, plain = make(gate='softmax', blocks=EQUAL[:1]), make(blocks=EQUAL[:1])
    state = {key: value for key, value in routed[1].state_dict().items() if not key.endswith('router')}
    plain[1].load_state_dict(state)
    torch.testing.assert_close(routed[0](x), plain[0](x), rtol=1e-12, atol=1e-12)


def test_experts_may_be_permuted_and_a_zero_router_is_the_mean():
    model, bank = make(gate='softmax', blocks=EQUAL)
    x, state = torch.randn(2, 3, D, dtype=torch.float64), bank.state_dict()
    y = model(x)
    order = {'a': 'c', 'b': 'a', 'c': 'b'}
    moved = {f'0.{order[name]}.{half}': state[f'0.{name}.{half}'] for name in order for half in 'AB'}
    moved['0.router'] = state['0.router'][[1, 2, 0]]  # the new a is the old b, and so on
    bank.load_state_dict(moved)
    torch.testing.assert_close(model(x), y, rtol=1e-12, atol=1e-12)
    bank.load_state_dict({**state, '0.router': torch.zeros(3, D, dtype=torch.float64)})
    mean = formula(model, bank, x, torch.full((2, 3, 3), 1 / 3, dtype=torch.float64))
    torch.testing.assert_close(model(x), mean, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('gate', ['none', 'softmax'])
def test_fresh_blocks_change_nothing(gate, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 48, dtype=dtype), nn.GELU(), nn.Linear(48, 16, dtype=dtype))
    x = torch.randn(4, 9, 32, dtype=dtype)
    before = model(x)
    bank = AdapterBank(model, ['0', '2'], gate=gate, dropout=0.1)
    assert torch.equal(model(x), before)
    bank.add(['a', 'b'], rank=4, scale=2.0, init='normal')
    assert torch.equal(model(x), before)
    model(x).float().square().sum().backward()
    grads = {name: parameter.grad for name, parameter in bank.trainable_parameters().items()}
    assert all(grad.abs().sum() > 0 for name, grad in grads.items() if name.endswith('bank_B'))
    assert all(grad.abs().sum() == 0 for name, grad in grads.items() if name.endswith(('bank_A', 'router')))
    assert all(parameter.grad is None for name, parameter in model.named_parameters() if 'base' in name)


def test_disabled_and_empty_banks_are_the_base():
    model, bank = make(blocks=MIXED)
    x = torch.randn(2, 3, D, dtype=torch.float64)
    with bank.disabled():
        assert torch.equal(model(x), model[0].base(x))
    assert not torch.equal(model(x), model[0].base(x))
    bank.set_active([])
    assert torch.equal(model(x), model[0].base(x))
    assert bank.trainable_parameters() == {}


def test_blocks_keep_their_bits_through_every_change():
    model, bank = make(gate='softmax', blocks=MIXED, dtype=torch.bfloat16)
    before = bank.state_dict()
    bank.freeze('a')
    bank.set_active(['d', 'c'])
    bank.unfreeze('b')
    bank.set_active(['a', 'b', 'c', 'd'])
    model.to(torch.bfloat16)
    after = bank.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert all(value.dtype == torch.float32 for value in after.values())
    assert {name: info.trainable for name, info in bank.blocks.items()} == dict(a=False, b=True, c=True, d=False)


def test_saved_state_does_not_follow_later_training():
    model, bank = make()
    saved = bank.state_dict()
    before = saved['0.a.A'].clone()
    for parameter in bank.trainable_parameters().values():
        parameter.data.add_(1.0)
    assert torch.equal(saved['0.a.A'], before) and not torch.equal(bank.state_dict()['0.a.A'], before)


def test_restore_rebuilds_a_bank_from_card_and_state():
    model, bank = make(gate='softmax', blocks=MIXED)
    x = torch.randn(2, 3, D, dtype=torch.float64)
    y, state, card = model(x), bank.state_dict(), bank.card()
    other, _ = make(gate='softmax', blocks=())
    other = nn.Sequential(other[0].base)
    again = AdapterBank.from_card(other, card, dtype=torch.float64)
    again.load_state_dict(state)
    assert torch.equal(other(x), y) and again.card() == card
    bank.drop('b')
    bank.freeze('a')
    fill(bank, seed=9)
    bank.restore(card, state)
    assert torch.equal(model(x), y) and bank.card() == card


def test_loading_keeps_the_parameter_objects():
    _, bank = make(gate='softmax')
    before = bank.trainable_parameters()
    bank.load_state_dict(bank.state_dict())
    bank.reinit('a')
    bank.set_active(['a', 'b'])
    assert all(before[name] is parameter for name, parameter in bank.trainable_parameters().items())


def test_names_are_those_of_the_model():
    model, bank = make(gate='softmax')
    own = dict(model.named_parameters())
    assert set(bank.trainable_parameters()) == {'0.bank_A', '0.bank_B', '0.router'}
    assert all(own[name] is parameter for name, parameter in bank.trainable_parameters().items())


@pytest.mark.parametrize('values', [True, False])
def test_state_from_gathered_values(values):
    """Under ZeRO-3 the module holds empty shards: the strategy's full values are read instead, or the error says so."""
    _, bank = make(gate='softmax')
    wanted, full = bank.state_dict(), {name: p.detach().clone() for name, p in bank.trainable_parameters().items()}
    for parameter in bank.trainable_parameters().values():
        parameter.data = torch.empty(0, dtype=parameter.dtype)
    if values:
        assert all(torch.equal(wanted[key], value) for key, value in bank.state_dict(values=full).items())
    else:
        with pytest.raises(RunError, match='partitioned'):
            bank.state_dict()


def test_merge_equals_the_unmerged_forward():
    model, bank = make(blocks=MIXED, dtype=torch.float32)
    x = torch.randn(2, 3, D)
    y = model(x)
    bank.merge('b')
    bank.merge('a')
    torch.testing.assert_close(model(x), y, rtol=0, atol=1e-5)
    assert list(bank.blocks) == ['c', 'd'] and bank.merged == ['b', 'a']
    bank.set_active(['c', 'd'])
    for name in ('c', 'd'):
        bank.merge(name)
    bank.remove()
    assert isinstance(model[0], nn.Linear)
    torch.testing.assert_close(model(x), y, rtol=0, atol=1e-5)


def test_merge_into_bfloat16_rounds_once():
    model, bank = make(blocks=EQUAL[:1], dtype=torch.bfloat16)
    state, weight = bank.state_dict(), model[0].base.weight.detach().clone()
    bank.merge('a')
    exact = (weight.double() + 2.0 * state['0.a.B'].double() @ state['0.a.A'].double())
    torch.testing.assert_close(model[0].base.weight, exact.to(torch.bfloat16), rtol=2 ** -8, atol=0)


def test_initialisation_follows_only_the_generator():
    def bank_of(global_seed):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(64, 8), nn.Linear(8, 64))
        bank = AdapterBank(model, ['0', '1'], gate='softmax')
        torch.manual_seed(global_seed)
        bank.add('kaiming', rank=32, scale=1.0, generator=torch.Generator().manual_seed(5))
        bank.add('normal', rank=32, scale=1.0, init='normal', generator=torch.Generator().manual_seed(6))
        return bank.state_dict()

    one, two = bank_of(1), bank_of(2)
    assert all(torch.equal(one[key], two[key]) for key in one)
    kaiming, normal, router = one['0.kaiming.A'], one['0.normal.A'], one['0.router']
    assert 0.9 / 8 < kaiming.abs().max() <= 1 / 8  # kaiming_uniform(a=sqrt 5) is U(-1/sqrt(d), 1/sqrt(d))
    assert 0.009 < normal.std() < 0.011
    assert 0.8 / 8 < router.abs().max() <= 1 / 8
    assert one['0.kaiming.B'].abs().sum() == 0


def test_reinit_starts_afresh():
    model, bank = make()
    x = torch.randn(2, D, dtype=torch.float64)
    before = bank.state_dict()
    bank.reinit('a', torch.Generator().manual_seed(0))
    after = bank.state_dict()
    assert after['0.a.B'].abs().sum() == 0 and not torch.equal(after['0.a.A'], before['0.a.A'])
    assert torch.equal(after['0.b.A'], before['0.b.A'])
    bank.drop('b')
    torch.testing.assert_close(model(x), model[0].base(x))


def test_counts_follow_the_formula():
    model = nn.Sequential(nn.Linear(D, OUT), nn.Linear(OUT, D))
    bank = AdapterBank(model, ['0', '1'], gate='softmax')
    bank.add(['a', 'b', 'c'], rank=2, scale=1.0)
    bank.freeze('c')
    router = D + OUT
    assert bank.num_parameters() == 3 * 2 * (2 * (D + OUT)) + 3 * router
    assert bank.num_parameters(trainable=False) == 2 * 2 * (D + OUT) + router
    bank.unfreeze('c')
    assert bank.num_parameters(trainable=True) == sum(p.numel() for p in bank.trainable_parameters().values())


def test_counts_of_the_7b_model():
    """specs of MoELoRA: P(r) + 1,138,688 E for LLaVA-7B's 224 linears."""
    sizes = dict(q=(4096, 4096), k=(4096, 4096), v=(4096, 4096), o=(4096, 4096), gate=(4096, 11008), up=(4096, 11008),
                 down=(11008, 4096))
    model = nn.ModuleDict({f'{name}{i}': nn.Linear(*size, device='meta')
                           for i in range(32) for name, size in sizes.items()})
    bank = AdapterBank(model, list(model), gate='softmax')
    bank.add(['a', 'b'], rank=1, scale=1.0)
    assert bank.num_parameters() == 2_498_560 * 2 + 1_138_688 * 2
    assert bank.num_parameters() == sum(p.numel() for p in bank.trainable_parameters().values())


def test_a_card_that_does_not_fit_is_refused():
    _, bank = make()
    card = bank.card()
    for change, message in (({'gate': 'softmax'}, "gated by 'softmax', this one by 'none'"),
                            ({'targets': ['0', '1', '2']}, "3 modules, this one 1; they differ in '1' and 1 more"),
                            ({'merged': ['old']}, r"\['old'\] were merged"), ({'schema': 'x'}, "schema 'x'")):
        with pytest.raises(RunError, match=message):
            bank.restore({**card, **change}, bank.state_dict())


def test_errors_name_the_cure():
    model, bank = make(gate='softmax')
    with pytest.raises(RunError, match="gated by 'softmax'"):
        bank.merge('a')
    with pytest.raises(ConfigError, match="unknown block 'experrt1'.*Did you mean 'expert1'"):
        bank.add('expert1', rank=1, scale=1.0)
        bank.freeze('experrt1')
    with pytest.raises(ConfigError, match="already has a block 'a'"):
        bank.add('a', rank=1, scale=1.0)
    with pytest.raises(ConfigError, match='no dots'):
        bank.add('x.y', rank=1, scale=1.0)
    with pytest.raises(ConfigError, match='whole number'):
        bank.add('z', rank=0, scale=1.0)
    with pytest.raises(ConfigError, match='already belongs'):
        AdapterBank(model, ['0'])
    with pytest.raises(ConfigError, match=r"2 problems(.|\n)*unknown value 'sotfmax'.*mean 'softmax'(.|\n)*1\.5"):
        AdapterBank(nn.Sequential(nn.Linear(2, 2)), ['0'], gate='sotfmax', dropout=1.5)
    with pytest.raises(ConfigError, match="no module '00'.*Did you mean '0'"):
        AdapterBank(nn.Sequential(nn.Linear(2, 2)), ['00'])
    with pytest.raises(RunError, match=r'0\.q\.A: not in the bank(.|\n)*0\.a\.A: missing'):
        bank.load_state_dict({'0.q.A': torch.zeros(1)})
    with pytest.raises(ConfigError, match='rank 128 cannot be split over 6 blocks'):
        split_rank(128, 6)
    assert split_rank(128, 8) == 16
