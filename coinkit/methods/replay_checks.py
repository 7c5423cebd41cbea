"""What Replay refuses before the first step, each with its cure: arguments, and sizes against the run's data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from coinkit.errors import Problem, unknown
from coinkit.methods.beside import at_once_problems

MODES = ('concat', 'ratio', 'cumulative', 'general')
CHOICES = {'replay_mode': MODES, 'selection': ('quota', 'reservoir'), 'replay_select': ('random', 'upstream_file')}
WHERE = 'Replay'
DEFAULTS = {'num_samples': 100, 'selection': 'quota', 'replay_repeat': 1, 'ratio': 0.1}
READ = {'concat': ('num_samples', 'selection', 'replay_repeat'), 'ratio': ('num_samples', 'selection', 'ratio'),
        'cumulative': ('replay_repeat',), 'general': ('num_samples', 'replay_repeat')}  # which of them a mode reads


def argument_problems(*, replay_mode: str = 'concat', num_samples: int | Mapping[str, int] = 100, replay_repeat: int = 1,
                      ratio: float = 0.1, selection: str = 'quota', replay_select: str = 'random',
                      replay_files: Mapping[str, Any] | None = None,
                      general: Mapping[str, Any] | None = None) -> list[Problem]:
    """Values no run can use."""
    given = {'replay_mode': replay_mode, 'selection': selection, 'replay_select': replay_select}
    problems = [unknown(f'{WHERE}: {key}', 'value', value, CHOICES[key]) for key, value in given.items()
                if value not in CHOICES[key]]
    by_task = isinstance(num_samples, Mapping)
    counts = list(num_samples.values()) if by_task else [num_samples]
    allowed_counts = '0 or more for each task, 1 or more in all' if by_task else '1 or more'
    rules = (('num_samples', num_samples, min(counts, default=0) >= 0 and sum(counts) >= 1, allowed_counts),
             ('replay_repeat', replay_repeat, replay_repeat >= 1, '1 or more'),
             ('ratio', ratio, 0 < ratio < 1, 'above 0 and below 1'))
    problems += [Problem(f'{WHERE}: {key}', f'given {value}, allowed: {allowed}.') for key, value, fine, allowed in rules
                 if not fine]
    if (replay_mode == 'general') != (general is not None):
        problems.append(Problem(f'{WHERE}: general', "a dataset is given exactly when replay_mode='general'.",
                                "Set general=dict(type='InstructionJson', path=...) with that mode, and only with it."))
    if (replay_select == 'upstream_file') != bool(replay_files):
        problems.append(Problem(f'{WHERE}: replay_files', "files are given exactly when replay_select='upstream_file'.",
                                "Set replay_files={'Task': dict(type='InstructionJson', path=...)} with it."))
    if by_task and (selection != 'quota' or replay_mode == 'general'):
        how = "replay_mode='general'" if replay_mode == 'general' else f"selection='{selection}'"
        problems.append(Problem(f'{WHERE}: num_samples', f'{dict(num_samples)} given, and {how} keeps rows of no task in '
                                'particular.', "Give one number, or use selection='quota'."))
    amounts = {'num_samples': num_samples, 'selection': selection, 'replay_repeat': replay_repeat, 'ratio': ratio}
    problems += _ignored(amounts, replay_mode, replay_select)
    if replay_select == 'upstream_file' and replay_mode != 'concat':
        problems.append(Problem(f'{WHERE}: replay_mode', f"'{replay_mode}' does not go with replay_select='upstream_file'.",
                                "Published files are added to the task's rows: use replay_mode='concat'."))
    return problems


def _ignored(given: Mapping[str, Any], mode: str, select: str) -> list[Problem]:
    """What was set and would not be read."""
    if mode not in MODES:
        return []
    read = ('replay_repeat',) if select == 'upstream_file' else READ[mode]
    how = f"replay_select='{select}'" if select == 'upstream_file' else f"replay_mode='{mode}'"
    return [Problem(f'{WHERE}: {key}', f'{value!r} given, and {how} does not read it.', 'Leave it out.')
            for key, value in given.items() if key not in read and value != DEFAULTS[key]]


def run_problems(config: Any, datasets: Any, *, replay_mode: str = 'concat',
                 num_samples: int | Mapping[str, int] = 100, selection: str = 'quota', ratio: float = 0.1,
                 replay_files: Mapping[str, Any] | None = None,
                 general: Mapping[str, Any] | None = None, **_: Any) -> list[Problem]:
    """What does not fit this run's tasks and data."""
    if problems := at_once_problems(WHERE, config):
        return problems
    names = [task.name for task in datasets.stream]
    extra = {**(replay_files or {}), **({'general': general} if general else {})}
    problems = [unknown(f'{WHERE}: replay_files', 'task', name, names) for name in replay_files or {} if name not in names]
    problems += [problem for name, rows in extra.items() for problem in datasets.problems_of(rows, task=name)]
    if problems or replay_files:
        return problems
    if replay_mode == 'cumulative':
        return []
    problems = _full_batches(config, datasets, ratio) if replay_mode == 'ratio' else []
    if isinstance(num_samples, Mapping):
        return problems + (_unknown_tasks(config, datasets, num_samples) or _sizes_by_task(datasets, num_samples))
    return problems + _sizes(datasets, replay_mode, selection, num_samples, general)


def _unknown_tasks(config: Any, datasets: Any, wanted: Mapping[str, int]) -> list[Problem]:
    """A number for every task that is replayed, and for none that the benchmark does not have."""
    known, where = [task.name for task in config.benchmark.tasks], f'{WHERE}: num_samples'
    missing = [task.name for task in datasets.stream[:-1] if task.name not in wanted]  # the last task is never replayed
    return [*(unknown(where, 'task', name, known) for name in wanted if name not in known),
            *(Problem(where, f"there is no number for the task '{name}'.", f"Add '{name}': 0 keeps none of its rows.")
              for name in missing)]


def _sizes_by_task(datasets: Any, wanted: Mapping[str, int]) -> list[Problem]:
    """More rows wanted of a task than it has."""
    sizes = {task.name: len(datasets.train(index)) for index, task in enumerate(datasets.stream) if task.name in wanted}
    return [Problem(f'{WHERE}: num_samples', f'{wanted[name]} given for {name}, but its training set has {size} rows.',
                    f'Give at most {size}.') for name, size in sizes.items() if wanted[name] > size]


def _full_batches(config: Any, datasets: Any, ratio: float) -> list[Problem]:
    """Batches in which no place is left for the task itself."""
    sizes = {task.name: task.schedule.get('global_batch_size', config.schedule.global_batch_size)
             for task in datasets.stream}
    return [Problem(f'{WHERE}: ratio', f'{ratio} takes all {size} places of a global batch of {name}.',
                    'Lower ratio, or raise global_batch_size.')
            for name, size in sizes.items() if math.ceil(Fraction(str(ratio)) * size) >= size]


def _sizes(datasets: Any, mode: str, selection: str, wanted: int, general: Mapping[str, Any] | None) -> list[Problem]:
    """More rows wanted than there are."""
    old = range(len(datasets.stream) - 1)  # the last task is never replayed
    if mode == 'general':
        sizes = {'the general file': len(datasets.build(general, task='general'))}
    elif selection == 'quota':
        sizes = {f'the training set of {datasets.stream[index].name}': len(datasets.train(index)) for index in old}
    else:
        sizes = {'all training sets before the last': sum(len(datasets.train(index)) for index in old)} if old else {}
    return [Problem(f'{WHERE}: num_samples', f'{wanted} given, but {where} has {size} rows.',
                    f"Give at most {size}, or keep everything with replay_mode='cumulative'.")
            for where, size in sizes.items() if wanted > size]
