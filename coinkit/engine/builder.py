"""From a config to a `RunState`: methods and observers as one list of hooks, the backbone, the bank, what trains."""

from __future__ import annotations

import os
from typing import Any

import torch

from coinkit.config import RunConfig, resolve_stream
from coinkit.engine.datasets import StreamDatasets
from coinkit.engine.progress import Reporter
from coinkit.engine.run_dir import RunDir
from coinkit.engine.state import RunState
from coinkit.errors import ConfigError, Problem
from coinkit.plugins import RunHooks, current_plugins
from coinkit.registry import BACKBONES, METHODS

CLAIM = 'coinkit_prepare_model'  # the hook by which a method claims the adapters
CLAIMS = {  # hooks and attributes of which a run's methods have one at most
    CLAIM: 'claim the adapters', 'reuses': 'group tasks', 'averages': 'average what trains',
    'coinkit_phases': 'say in which phases a task is trained', 'coinkit_route': 'choose the stage that answers'}
KEEP_ONE = 'Keep one of them; the others must be methods that only add to it.'


def build_methods(config: RunConfig) -> list[tuple[str, Any]]:
    """The methods in config order; when none of them claims the adapters, FineTune does, before them all."""
    if problems := claim_problems(config):
        raise ConfigError(problems)
    methods = [(method['type'], METHODS.build(dict(method))) for method in config.methods]
    if not any(hasattr(method, CLAIM) for _, method in methods):
        methods.insert(0, ('FineTune', METHODS.get('FineTune')()))
    return methods


def claim_problems(config: RunConfig) -> list[Problem]:
    """More than one method that wants to say what is trained, in which phases, which stage answers, or what is stored."""
    problems: dict[tuple[str, ...], Problem] = {}
    for attribute, what in CLAIMS.items():
        claims = tuple(method['type'] for method in config.methods if hasattr(METHODS.get(method['type']), attribute))
        if len(claims) > 1:
            text = f'{" and ".join(claims)} {"both" if len(claims) == 2 else "all"} {what}.'
            problems.setdefault(claims, Problem(f'{config.source}: methods', text, KEEP_ONE))
    return list(problems.values())


def build_hooks(config: RunConfig) -> RunHooks:
    return RunHooks(build_methods(config) + current_plugins().observers())


def build_state(config: RunConfig, run: RunDir, strategy: Any, reporter: Reporter) -> RunState:
    """Everything a run needs, with the model at theta_0."""
    hooks = build_hooks(config)
    stream = resolve_stream(config)
    if config.deterministic:
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # without it torch refuses matrix products on a GPU
    torch.use_deterministic_algorithms(config.deterministic)
    backbone = BACKBONES.build(dict(config.backbone), device=str(strategy.device))
    backbone.model.requires_grad_(False)
    state = RunState(config=config, run=run, stream=stream, backbone=backbone, strategy=strategy, hooks=hooks,
                     reporter=reporter, datasets=StreamDatasets(stream, config.data, limit=config.evaluation.limit))
    state.seed('prepare_model')
    claimed = hooks.first(CLAIM, backbone=backbone, config=config)
    state.bank = None if claimed is None or claimed[1] is True else claimed[1]
    raise_precision(state)
    state.reset_trained()  # remembers what trains now
    return state


def raise_precision(state: RunState) -> None:
    """Trainable tensors are fp32 whatever the frozen base is; the forward casts them to the compute dtype."""
    for parameter in state.backbone.model.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.float()


def needs_task_id(state: RunState) -> list[str]:
    """Methods that are told the task at test time: the report flags them."""
    return [name for name, plugin in state.hooks.plugins.items() if getattr(plugin, 'needs_task_id', False)]


def uses_test_sets(state: RunState) -> list[str]:
    """Methods that look at a test set as a whole before its first answer: the report flags them."""
    return [name for name, plugin in state.hooks.plugins.items() if getattr(plugin, 'uses_test_sets', False)]


def evaluates(state: RunState) -> str:
    """'none' or 'last' when a method says so, else 'policy': what the config asks for."""
    wanted = [getattr(plugin, 'evaluates', 'policy') for plugin in state.hooks.plugins.values()]
    return next((value for value in wanted if value != 'policy'), 'policy')
