"""CoIN's adapter files: the reference layer's own tensors in, and the same names out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from coinkit.backbones.coin_io import export_coin, import_coin
from coinkit.errors import DataError, RunError
from coinkit.nn.bank import AdapterBank

GOLDEN = Path(__file__).parents[1] / 'golden' / 'moelora'
OLD, NEW = 'model.layers.0.q_proj', 'layers.0.q_proj'


@pytest.fixture
def golden():
    return load_file(GOLDEN / 'linear_e4.safetensors')


def model(golden):
    layer = nn.ModuleDict({'q_proj': nn.Linear(12, 10, bias=False)})
    layer['q_proj'].weight.data = golden['sd.weight'].clone()
    return nn.ModuleDict({'layers': nn.ModuleList([layer])})


def write(folder, golden, *, copies=True, **config):
    """The reference layer's adapter as CoIN's trainer leaves it; `copies` = the state-dict route with `.mlp` twins."""
    tensors = {f"base_model.model.{OLD}.{key.removeprefix('sd.').replace('.default', '')}": value.clone()
               for key, value in golden.items()
               if key.startswith('sd.lora') and (copies or '.mlp' not in key)}
    save_file(tensors, folder / 'adapter_model.safetensors')
    fields = {'peft_type': 'MOE_LORA_CoIN', 'r': 8, 'lora_alpha': 16, 'lora_dropout': 0.05, 'expert_num': 4, **config}
    (folder / 'adapter_config.json').write_text(json.dumps(fields))


def strip(name):
    return name.removeprefix('model.')


@pytest.mark.parametrize('copies', [True, False])
def test_import_reproduces_the_reference_layer(tmp_path, golden, copies):
    write(tmp_path, golden, copies=copies)
    net = model(golden)
    bank = import_coin(net, tmp_path, rename=strip)
    assert bank.dropout == 0.05 and bank.dropout_mode == 'per_expert' and len(bank.blocks) == 4
    y = net.eval().get_submodule(NEW)(golden['x'])
    torch.testing.assert_close(y, golden['y'], rtol=0, atol=1e-5)


def test_export_writes_what_was_read(tmp_path, golden):
    write(tmp_path, golden, copies=False)
    bank = import_coin(model(golden), tmp_path, rename=strip)
    out = tmp_path / 'out'
    files = export_coin(bank, out, rename=lambda name: f'model.{name}')
    assert {path.name for path in out.iterdir()} == {path.name for path in files}
    before = load_file(tmp_path / 'adapter_model.safetensors')
    after = load_file(out / 'adapter_model.safetensors')
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    again = import_coin(model(golden), out, rename=strip)
    assert again.card() == bank.card()


def test_errors_name_file_and_tensor(tmp_path, golden):
    with pytest.raises(DataError, match=r'adapter_config\.json: cannot be read'):
        import_coin(model(golden), tmp_path)
    write(tmp_path, golden, peft_type='LORA')
    with pytest.raises(DataError, match="'LORA' is not 'MOE_LORA_CoIN'"):
        import_coin(model(golden), tmp_path)
    write(tmp_path, golden)
    tensors = load_file(tmp_path / 'adapter_model.safetensors')
    tensors[f'base_model.model.{OLD}.lora_A.loraA.0.mlp.weight'] += 1
    save_file(tensors, tmp_path / 'adapter_model.safetensors')
    with pytest.raises(DataError, match='differs from its other copy'):
        import_coin(model(golden), tmp_path, rename=strip)
    tensors = {key: value for key, value in tensors.items() if 'router' not in key and 'mlp' not in key}
    save_file(tensors, tmp_path / 'adapter_model.safetensors')
    with pytest.raises(DataError, match='no router for layers.0.q_proj'):
        import_coin(model(golden), tmp_path, rename=strip)
    save_file({'base_model.model.x.weight': torch.zeros(1)}, tmp_path / 'adapter_model.safetensors')
    with pytest.raises(DataError, match='not a tensor of a CoIN MoELoRA adapter'):
        import_coin(model(golden), tmp_path, rename=strip)


def test_only_routed_banks_are_coins(tmp_path, golden):
    bank = AdapterBank(model(golden), [NEW])
    bank.add('a', rank=2, scale=1.0)
    with pytest.raises(RunError, match="gate 'none'"):
        export_coin(bank, tmp_path)
