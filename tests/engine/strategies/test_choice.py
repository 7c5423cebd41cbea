"""Which strategy a config gives, and what is said when its processes or packages are not there."""

from __future__ import annotations

import importlib.util
import re
import runpy
from pathlib import Path

import pytest

from coinkit.engine.processes import Launch, choose_device
from coinkit.engine.strategies import make_strategy, resolve
from coinkit.engine.strategies.ddp import DDP
from coinkit.engine.strategies.deep_speed import DeepSpeed
from coinkit.engine.strategies.one_device import OneDevice
from coinkit.errors import ConfigError

LAUNCHER = {'RANK': '1', 'WORLD_SIZE': '2', 'LOCAL_RANK': '1', 'MASTER_ADDR': 'localhost', 'MASTER_PORT': '1'}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)


def test_auto_is_one_device_alone_and_ddp_under_a_launcher(monkeypatch):
    assert resolve() == {'type': 'OneDevice'}
    assert resolve({'type': 'auto'}) == {'type': 'OneDevice'}
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert resolve({'type': 'auto'}) == {'type': 'DDP'}
    assert resolve({'type': 'DeepSpeed', 'stage': 3}) == {'type': 'DeepSpeed', 'stage': 3}


def test_make_strategy_builds_from_the_registry():
    assert type(make_strategy(device='cpu')) is OneDevice
    strategy = make_strategy({'type': 'DeepSpeed', 'stage': 3, 'offload_params': True}, device='cpu')
    assert (type(strategy), strategy.stage, strategy.device_choice) == (DeepSpeed, 3, 'cpu')


@pytest.mark.parametrize('name, expected', [
    ('one_device', {'type': 'OneDevice'}), ('ddp', {'type': 'DDP'}), ('zero1', {'type': 'DeepSpeed', 'stage': 1}),
    ('zero2', {'type': 'DeepSpeed', 'stage': 2}), ('zero3', {'type': 'DeepSpeed', 'stage': 3})])
def test_shipped_strategy_configs(name, expected):
    path = Path(__file__).parents[3] / 'configs' / '_base_' / 'strategies' / f'{name}.py'
    assert runpy.run_path(str(path))['strategy'] == expected
    make_strategy(expected, device='cpu')


@pytest.mark.parametrize('strategy', [DDP, DeepSpeed])
def test_without_a_launcher_the_command_is_named(strategy):
    with pytest.raises(ConfigError, match=r'RANK, WORLD_SIZE, .* are not set.*torchrun --nproc_per_node'):
        strategy(device='cpu').setup()


def test_a_half_set_environment_is_named(monkeypatch):
    for name in list(LAUNCHER)[:-1]:
        monkeypatch.setenv(name, LAUNCHER[name])
    with pytest.raises(ConfigError, match='MASTER_PORT is not set'):
        DDP(device='cpu').setup()


def test_without_deepspeed_the_extra_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'deepspeed' else find(name))
    with pytest.raises(ConfigError, match=r'DS_BUILD_OPS=0 pip install coinkit\[deepspeed\]'):
        DeepSpeed(device='cpu').setup()


@pytest.mark.parametrize('arguments, message', [
    (dict(stage=4), r'strategy.stage: given 4; allowed: 0, 1, 2, 3'),
    (dict(stage=2, offload_params=True), 'offload_params: needs stage=3, given stage=2'),
    (dict(stage=0, offload_optimizer=True), 'offload_optimizer: needs stage 1, 2 or 3'),
    (dict(config=dict(bf16=dict(enabled=True))), r'config.bf16: is set by coinkit'),
    (dict(config=dict(zero_optimization=dict(stage=1))), 'is the strategy argument `stage`'),
])
def test_wrong_arguments_are_found_before_anything_starts(arguments, message):
    assert any(re.search(message, str(problem)) for problem in DeepSpeed.preflight(**arguments))


def test_launch_reads_the_launcher(monkeypatch):
    assert Launch.from_environment(LAUNCHER) == Launch(1, 2, 1)
    assert Launch.from_environment({}) == Launch(0, 1, 0)
    with pytest.raises(ConfigError, match="RANK is 'one'"):
        Launch.from_environment({'RANK': 'one'})


def test_devices(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    assert str(choose_device('auto', 1)) == 'cuda:1'
    assert str(choose_device('cpu', 1)) == 'cpu'
    with pytest.raises(ConfigError, match='process 2 of this machine needs GPU 2, and 2 can be used'):
        choose_device('cuda', 2)
    with pytest.raises(ConfigError, match="allowed: 'auto', 'cpu', 'cuda'"):
        choose_device('gpu', 0)
