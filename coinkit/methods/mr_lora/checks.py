"""What can be told about MR-LoRA's arguments before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coinkit.errors import Problem
from coinkit.methods.beside import unread
from coinkit.methods.fine_tune import FineTune
from coinkit.methods.mr_lora.letters import ALPHABET, alphabet_problems, stream_problems
from coinkit.methods.mr_lora.prompts import prompt_problems

CHOICES = {'router_init': ('base', 'previous', 'merged'), 'router_parse': ('strict', 'upstream'),
           'router_fallback': ('argmax', 'base', 'random')}
EPOCHS = 40.0  # passes of the router where neither `router_epochs` nor `router_steps` is given
RANK, ALPHA = 128, 256.0
COUNTS = ('router_samples', 'router_rank', 'router_steps', 'router_batch_size', 'max_new_tokens')
RATES = ('router_lr', 'router_epochs')


def argument_problems(*, prompt: str | None = None, alphabet: str = ALPHABET, letters: Mapping[str, str] | None = None,
                      router_start: str | None = None, **given: Any) -> list[Problem]:
    """Values no run can use."""
    problems = [Problem(f'methods: {key}', f'{given[key]} given, at least 1 allowed.')
                for key in COUNTS if given.get(key) is not None and given[key] < 1]
    problems += [Problem(f'methods: {key}', f'{given[key]} given, allowed: above 0.')
                 for key in RATES if given.get(key) is not None and given[key] <= 0]
    problems += [Problem(f'methods: {key}', f"{given[key]!r} given, allowed: {', '.join(allowed)}.")
                 for key, allowed in CHOICES.items() if key in given and given[key] not in allowed]
    if given.get('router_steps') is not None:
        problems += unread('methods', given, ('router_epochs',), f'router_steps={given["router_steps"]}')
    if given.get('router_parse') == 'upstream' and given.get('router_fallback') != 'random':  # as which it draws
        problems += unread('methods', given, ('router_fallback',), "router_parse='upstream'")
    init = given.get('router_init', 'base')
    if (init == 'merged') != (router_start is not None):
        problems.append(Problem('methods: router_start', f'{router_start!r} given with router_init={init!r}.',
                                "Only router_init='merged' starts from a PEFT LoRA folder, router_start."))
    problems += prompt_problems(prompt) if prompt is not None else []
    lora = {key: given[key] for key in ('rank', 'dropout') if key in given}
    return problems + alphabet_problems(alphabet, letters or {}) + FineTune.preflight(**lora)


def _start_problems(given: Mapping[str, Any], start: str | None) -> list[Problem]:
    """The folder of the start: there, and of the router's rank and scale."""
    if start is None:
        return []
    path = Path(start) / 'adapter_config.json'
    if not path.is_file():
        return [Problem('methods: router_start', f"'{start}' is no PEFT folder (adapter_config.json).")]
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
        found = int(config['r']), float(config['lora_alpha'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [Problem(f'methods: router_start: {path}', f'cannot be read ({type(error).__name__}: {error}).')]
    rank, alpha = (given.get(f'router_{key}') or given.get(key) or default
                   for key, default in (('rank', RANK), ('alpha', ALPHA)))
    if found == (rank, alpha):
        return []
    return [Problem('methods: router_start', f'its rank is {found[0]} and its alpha {found[1]:g}, the router has {rank} and '
                    f'{alpha:g}.', f'Set router_rank={found[0]} and router_alpha={found[1]:g}.')]


def run_problems(config: Any, datasets: Any, *, alphabet: str = ALPHABET, letters: Mapping[str, str] | None = None,
                 router_samples: int = 20, router_start: str | None = None, **given: Any) -> list[Problem]:
    """A letter for every task, as many records as the router is to see, and where it starts."""
    names = [task.name for task in datasets.stream]
    sizes = [len(datasets.train(index)) for index in range(len(names))] if len(names) > 1 else []  # one task needs no router
    known = [task.name for task in config.benchmark.tasks]
    return [*_start_problems(given, router_start), *stream_problems(datasets.stream, known, alphabet, letters or {}),
            *(Problem('methods: router_samples', f'{router_samples} given, but the training set of {name} has {size} rows.',
                      f'Give at most {min(sizes)}.') for name, size in zip(names, sizes, strict=False)
              if router_samples > size)]
