"""CoIN's adapter files: the reference layer's own tensors in, and the same names out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from coinkit.backbones.coin_io import CoinAdapter, export_coin, load_coin, read_coin
from coinkit.backbones.published_names import own_names, published_names
from coinkit.errors import ConfigError, DataError, RunError
from coinkit.nn.bank import AdapterBank

GOLDEN = Path(__file__).parents[1] / 'golden' / 'moelora'
OLD, NEW = 'model.layers.0.q_proj', 'layers.0.q_proj'


@pytest.fixture
def golden():
    return load_file(GOLDEN / 'linear_e4.safetensors')


class Net(nn.Module):
    """The reference layer's base under its name, and a projector beside it."""

    def __init__(self, golden):
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleDict({'q_proj': nn.Linear(12, 10, bias=False)})])
        self.layers[0]['q_proj'].weight.data = golden['sd.weight'].clone()
        self.projector = nn.Linear(3, 2)


def bank_of(net, *, experts=4, rank=2, scale=2.0):
    bank = AdapterBank(net, [NEW], gate='softmax')
    bank.add([f'expert-{i}' for i in range(experts)], rank=rank, scale=scale, init='normal')
    return bank


def tensors_of(golden, *, copies=True):
    return {f"base_model.model.{OLD}.{key.removeprefix('sd.').replace('.default', '')}": value.clone()
            for key, value in golden.items() if key.startswith('sd.lora') and (copies or '.mlp' not in key)}


def write(folder, golden, *, copies=True, pickled=False, **config):
    """The reference layer's adapter as CoIN's trainer leaves it; `copies` = the state-dict route with `.mlp` twins."""
    tensors = tensors_of(golden, copies=copies)
    if pickled:
        torch.save(tensors, folder / 'adapter_model.bin')
    else:
        save_file(tensors, folder / 'adapter_model.safetensors')
    fields = {'peft_type': 'MOE_LORA_CoIN', 'r': 8, 'lora_alpha': 16, 'lora_dropout': 0.05, 'expert_num': 4, **config}
    (folder / 'adapter_config.json').write_text(json.dumps(fields))


def strip(name):
    return name.removeprefix('model.')


@pytest.mark.parametrize(('copies', 'pickled'), [(True, False), (False, False), (True, True)])
def test_a_folder_reproduces_the_reference_layer(tmp_path, golden, copies, pickled):
    write(tmp_path, golden, copies=copies, pickled=pickled)
    weight = torch.randn(2, 3)
    torch.save({'base_model.model.model.projector.weight': weight}, tmp_path / 'non_lora_trainables.bin')
    net = Net(golden)
    load_coin(bank_of(net), read_coin(tmp_path, rename=strip))
    torch.testing.assert_close(net.eval().get_submodule(NEW)(golden['x']), golden['y'], rtol=0, atol=1e-5)
    assert torch.equal(net.projector.weight, weight)


def test_export_writes_what_was_read(tmp_path, golden):
    write(tmp_path, golden, copies=False)
    net = Net(golden)
    bank, out = bank_of(net), tmp_path / 'out'
    load_coin(bank, read_coin(tmp_path, rename=strip))
    projector = {'projector.bias': net.projector.bias.detach()}
    files = export_coin(bank.card(), bank.state_dict(), out, trained=projector, rename=lambda name: f'model.{name}')
    assert {path.name for path in out.iterdir()} == {path.name for path in files}
    before, after = load_file(tmp_path / 'adapter_model.safetensors'), load_file(out / 'adapter_model.safetensors')
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    beside = torch.load(out / 'non_lora_trainables.bin', weights_only=True)
    assert list(beside) == ['base_model.model.model.projector.bias']
    config = json.loads((out / 'adapter_config.json').read_text())
    assert (config['r'], config['lora_alpha'], config['expert_num']) == (8, 16, 4)
    assert (config['peft_type'], config['task_type']) == ('MOE_LORA_CoIN', 'CAUSAL_LM_CoIN')
    again = bank_of(Net(golden))
    load_coin(again, read_coin(out, rename=strip))
    wanted = bank.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in again.state_dict().items())


def edited(folder, edit):
    """Change the tensors of the folder."""
    tensors = load_file(folder / 'adapter_model.safetensors')
    edit(tensors)
    save_file(tensors, folder / 'adapter_model.safetensors')


def first_a(tensors):
    return tensors[f'base_model.model.{OLD}.lora_A.loraA.0.mlp.weight']


def drop(part):
    return lambda tensors: [tensors.pop(key) for key in list(tensors) if part in key]


@pytest.mark.parametrize(('edit', 'message'), [
    (lambda tensors: first_a(tensors).add_(1), 'differs from its other copy'),
    (drop('router'), 'no router for layers.0.q_proj'),
    (drop('lora_B.loraB.2'), r"'layers.0.q_proj.2.B' is missing; adapter_config.json says expert_num = 4"),
    (lambda tensors: tensors.update({'base_model.model.x.weight': torch.zeros(1)}),
     'x.weight: not a tensor of a CoIN MoELoRA adapter'),
    (lambda tensors: tensors.clear(), 'no tensors')])
def test_a_folder_that_is_not_whole_is_refused(tmp_path, golden, edit, message):
    write(tmp_path, golden)
    edited(tmp_path, edit)
    with pytest.raises(DataError, match=rf'adapter_model\.safetensors: .*{message}'):
        read_coin(tmp_path, rename=strip)


@pytest.mark.parametrize(('config', 'message'), [
    ({'peft_type': 'LORA'}, "peft_type 'LORA' is not 'MOE_LORA_CoIN'"),
    ({'expert_num': None}, 'expert_num: None, expected a whole number'),
    ({'r': True, 'lora_alpha': 0}, r'r: True, expected a whole number(.|\n)*lora_alpha: 0, expected a positive'),
    ({'expert_num': 3}, 'r: rank 8 cannot be split over 3 blocks'),
    ({'expert_num': 8}, "'layers.0.q_proj.4.A' is missing; adapter_config.json says expert_num = 8"),
    ({'expert_num': 2}, "lora_A.loraA.2.*' is one expert too many"),
    ({'r': 16}, r'has shape \(2, 12\); adapter_config.json says r / expert_num = 4'),
    ({'bias': 'all'}, "bias: 'all' is not supported")])
def test_a_config_that_says_otherwise_is_refused(tmp_path, golden, config, message):
    write(tmp_path, golden, **config)
    with pytest.raises((DataError, ConfigError), match=message):
        read_coin(tmp_path, rename=strip)


def test_files_that_cannot_be_read_are_named(tmp_path, golden):
    with pytest.raises(DataError, match=r'adapter_config\.json: cannot be read'):
        read_coin(tmp_path)
    write(tmp_path, golden)
    weights = tmp_path / 'adapter_model.safetensors'
    weights.write_bytes(weights.read_bytes()[:-20])
    with pytest.raises(DataError, match=r'adapter_model\.safetensors: cannot be read: .*cut short'):
        read_coin(tmp_path)
    weights.unlink()
    with pytest.raises(DataError, match=r'holds neither adapter_model\.safetensors nor adapter_model\.bin'):
        read_coin(tmp_path)
    torch.save({'x': Path('x')}, tmp_path / 'adapter_model.bin')
    with pytest.raises(DataError, match=r'adapter_model\.bin: cannot be read: .*a pickle can run code'):
        read_coin(tmp_path)


@pytest.mark.parametrize(('given', 'message'), [
    ({'experts': 8, 'rank': 1}, 'expert_num: 4 there, 8 in this run.*Set num_experts=4'),
    ({'rank': 4}, 'r: 8 there, 16 in this run.*Set rank=8'),
    ({'scale': 1.0}, 'lora_alpha: 16 there, 8 in this run.*Set alpha=16')])
def test_a_bank_of_another_size_is_refused(tmp_path, golden, given, message):
    write(tmp_path, golden)
    bank = bank_of(Net(golden), **given)
    before = bank.state_dict()
    with pytest.raises(ConfigError, match=message):
        load_coin(bank, read_coin(tmp_path, rename=strip))
    assert all(torch.equal(tensor, before[name]) for name, tensor in bank.state_dict().items())


@pytest.mark.parametrize(('renamed', 'tensor', 'message'), [
    (lambda name: 'h.0.c_attn', None, r"q_proj.lora_router.weight: adapts 'h.0.c_attn'.*no such module.*Use the backbone"),
    (lambda name: 'projector', None, "adapts 'projector', this run's method does not.*Give the method the targets"),
    (strip, ('lora_A.loraA.1', (2, 13)), r'lora_A.loraA.1.weight: shape \(2, 13\), this backbone wants \(2, 12\)'),
    (strip, ('lora_B.loraB.3', (11, 2)), r'lora_B.loraB.3.weight: shape \(11, 2\), this backbone wants \(10, 2\)'),
    (strip, ('beside', (5, 3)), r"non_lora_trainables.bin: 'projector.weight' has shape \(5, 3\) instead of \(2, 3\)")])
def test_a_folder_of_another_model_is_refused(tmp_path, golden, renamed, tensor, message):
    write(tmp_path, golden, copies=False)
    part, shape = tensor or ('', ())
    if part == 'beside':
        torch.save({'base_model.model.model.projector.weight': torch.zeros(shape)}, tmp_path / 'non_lora_trainables.bin')
    elif part:
        edited(tmp_path, lambda tensors: tensors.update(
            {key: torch.ones(shape) for key in tensors if part in key}))
    with pytest.raises(ConfigError, match=message):
        load_coin(bank_of(Net(golden)), read_coin(tmp_path, rename=renamed))


def test_a_module_without_effect_needs_no_place(tmp_path, golden):
    write(tmp_path, golden, copies=False)
    edited(tmp_path, lambda tensors: tensors.update(
        {key.replace(OLD, 'model.unread'): torch.zeros_like(value) if 'lora_B' in key else value.clone()
         for key, value in list(tensors.items())}))
    load_coin(bank_of(Net(golden)), read_coin(tmp_path, rename=strip))


def test_only_routed_banks_are_coins(tmp_path, golden):
    bank = AdapterBank(Net(golden), [NEW])
    bank.add('a', rank=2, scale=1.0)
    with pytest.raises(RunError, match="gate 'none'"):
        export_coin(bank.card(), bank.state_dict(), tmp_path)
    write(tmp_path, golden)
    adapter = read_coin(tmp_path, rename=strip)
    assert isinstance(adapter, CoinAdapter)
    with pytest.raises(ConfigError, match=r"Use methods=\[{'type': 'MoELoRA', 'num_experts': 4, 'rank': 8, 'alpha': 16}\]"):
        load_coin(bank, adapter)


def test_names_of_llava_are_the_original_ones(backbone):
    to, back = published_names(backbone), own_names(backbone)
    names = [name for name, _ in backbone.model.named_parameters()]
    assert [back(to(name)) for name in names] == names
    assert to('model.language_model.layers.1.mlp.up_proj') == 'model.layers.1.mlp.up_proj'
    assert to('model.multi_modal_projector.linear_2.bias') == 'model.mm_projector.2.bias'
    official = set(load_file(GOLDEN.parent / 'llava15' / 'weights.safetensors'))
    if backbone.checkpoint != 'mini':
        assert {to(name) for name in names} <= official
    assert published_names(object()) is str and own_names(object()) is str
