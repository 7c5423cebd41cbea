"""CoIN's own MoE-LoRA layer, forward and backward, from stored outputs (dropout 0)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from coinkit.nn.bank import AdapterBank
from coinkit.nn.bank_checks import split_rank

GOLDEN = Path(__file__).parents[1] / 'golden' / 'moelora'


@pytest.mark.parametrize('case', ['linear_e4', 'linear_e1_equals_lora'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_reference_layer(case, dtype):
    sizes = json.loads((GOLDEN / f'{case}.json').read_text())
    data = {key: value.to(dtype) for key, value in load_file(GOLDEN / f'{case}.safetensors').items()}
    experts = range(sizes['expert_num'])
    model = nn.Sequential(nn.Linear(sizes['in_features'], sizes['out_features'], bias=False, dtype=dtype))
    model[0].weight.data = data['sd.weight']
    bank = AdapterBank(model, ['0'], gate='softmax', dtype=dtype)
    bank.add([str(i) for i in experts], rank=split_rank(sizes['r'], len(experts)),
             scale=sizes['lora_alpha'] / sizes['r'])
    bank.load_state_dict({'0.router': data['sd.lora_router.default.weight'],
                          **{f'0.{i}.{half}': data[f'sd.lora_{half}.default.lora{half}.{i}.weight']
                             for i in experts for half in 'AB'}})
    x = data['x'].requires_grad_()
    y = model(x)
    (y * data['upstream']).sum().backward()

    close = dict(rtol=0, atol=1e-5)
    torch.testing.assert_close(y, data['y'], **close)
    torch.testing.assert_close(x.grad, data['grad_x'], **close)
    layer = model[0]
    torch.testing.assert_close(layer.router.grad, data['grad.lora_router.default.weight'], **close)
    for half, grads in (('A', layer.bank_A.grad.chunk(len(experts))), ('B', layer.bank_B.grad.chunk(len(experts), 1))):
        for i in experts:
            torch.testing.assert_close(grads[i], data[f'grad.lora_{half}.default.lora{half}.{i}.weight'], **close)
