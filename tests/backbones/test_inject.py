"""Which linears get adapted: PEFT's rules, and errors that name what is near."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coinkit.backbones.inject import find_targets, inject
from coinkit.errors import ConfigError
from coinkit.nn.bank_linear import BankLinear


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.v_proj, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.LayerNorm(4)

    def forward(self, x):
        return self.norm(self.v_proj(self.q_proj(x)))


def model():
    torch.manual_seed(0)
    return nn.ModuleDict({'vision': nn.Sequential(Attention()), 'text': nn.Sequential(Attention(), Attention())})


@pytest.mark.parametrize('targets, exclude', [
    (['q_proj'], None), (['q_proj', 'v_proj'], ['vision.0.q_proj']), (r'text\.\d+\.(q|v)_proj', None),
    ('.*_proj', r'vision\..*'), (['text.1.v_proj'], None), ('all-linear', None),
])
def test_matching_agrees_with_peft(targets, exclude):
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    wrapped = inject_adapter_in_model(LoraConfig(target_modules=targets, exclude_modules=exclude), model())
    theirs = [name for name, module in wrapped.named_modules() if isinstance(module, LoraLayer)]
    assert find_targets(model(), targets, exclude) == theirs != []


def test_inject_replaces_in_place():
    net = model()
    x = torch.randn(3, 4)
    before = net['text'](x)
    bank = inject(net, targets=r'text\..*_proj', gate='softmax', dropout=0.1, dropout_mode='per_expert')
    bank.add('a', rank=2, scale=1.0)
    assert bank.targets == ('text.0.q_proj', 'text.0.v_proj', 'text.1.q_proj', 'text.1.v_proj')
    assert isinstance(net['text'][0].q_proj, BankLinear) and isinstance(net['vision'][0].q_proj, nn.Linear)
    assert (bank.gate, bank.dropout, bank.dropout_mode) == ('softmax', 0.1, 'per_expert')
    assert torch.equal(net['text'](x), before)


@pytest.mark.parametrize('targets, exclude, message', [
    (['q_porj'], None, r"\['q_porj'\] matches no module.*Nearest: q_proj"),
    (r'txt\.0\.q_proj', None, r'matches no module.*Nearest: .*text\.0\.q_proj'),
    (['nothing_like_it'], None, r'Linear layers end in: q_proj, v_proj'),
    (['q_proj'], r'.*', r"matches no module of the model that '\.\*' does not exclude"),
    (['norm'], None, r"matches 'vision\.0\.norm', a LayerNorm and not a linear layer"),
])
def test_errors(targets, exclude, message):
    with pytest.raises(ConfigError, match=message):
        inject(model(), targets=targets, exclude=exclude)
