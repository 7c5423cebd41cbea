"""What a method that works from task to task asks of the others in the list, before the first step.

A method whose trained blocks do not stay the same says so: `blocks_change = 'task'` (OLoRA: a new block for every task) or
`'phase'` (MRLoRA: the router's and the expert's). One that starts every task from theta_0 says `starts_anew = True`
(SingleTask). Here is also what is said of arguments that nobody reads beside others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from coinkit.errors import Problem


def at_once_problems(name: str, config: Any) -> list[Problem]:
    """Methods without a sequence of tasks, beside which nothing would be left for `name` to do."""
    from coinkit.registry import METHODS

    others = [method['type'] for method in config.methods]
    return [Problem('methods', f'{name} works from task to task, and {other} trains no sequence of tasks: {name} would do '
                    'nothing.', f'Leave out {name} or {other}.')
            for other in others if getattr(METHODS.get(other), 'evaluates', 'policy') != 'policy']


def changing(methods: Any) -> dict[str, str]:
    """Those of `methods` whose trained blocks change, and when: 'task' or 'phase'."""
    from coinkit.registry import METHODS

    found = {method['type']: getattr(METHODS.get(method['type']), 'blocks_change', 'never') for method in methods}
    return {name: when for name, when in found.items() if when != 'never'}


def anew_problems(name: str, config: Any) -> list[Problem]:
    """Of a method that holds on to what older tasks have learnt, beside one that starts every task without it."""
    from coinkit.registry import METHODS

    anew = [(method['type'], f'{method["type"]} starts every task from theta_0') for method in config.methods
            if getattr(METHODS.get(method['type']), 'starts_anew', False)]
    anew += [(method['type'], f"{method['type']} with expand_init='random' starts new groups from theta_0")
             for method in config.methods if method.get('expand_init') == 'random']
    return [Problem('methods', f'{name} holds on to what older tasks have learnt, and {what}: it would pull towards the '
                    'answers or weights of other tasks.', f'Leave out {name} or {other}.') for other, what in anew]


def twice_problems(name: str, config: Any) -> list[Problem]:
    """Of a method that does the same thing again when it is listed again."""
    count = sum(method['type'] == name for method in config.methods)
    return [Problem('methods', f'{name} is listed {count} times, and each would hold the same values.',
                    f'List {name} once, with the strength of all.')] if count > 1 else []


def unread(where: str, given: Mapping[str, Any], keys: Iterable[str], because: str) -> list[Problem]:
    """Arguments that were given beside one under which nobody reads them; None = not given."""
    return [Problem(f'{where}: {key}', f'{given[key]!r} given, and {because} does not read it.',
                    'Leave one of them out; on the command line: --cfg-options "methods=[dict(type=..., ...)]".')
            for key in keys if given.get(key) is not None]


def held_problems(name: str, config: Any) -> list[Problem]:
    """Of a method that holds parameters near the values they had after older tasks."""
    return [*twice_problems(name, config), *anew_problems(name, config), *_changing_problems(name, config)]


def _changing_problems(name: str, config: Any) -> list[Problem]:
    return [Problem('methods', f'{name} holds blocks near their old values, and {other} trains other blocks from {when} to '
                    f'{when}: there would be nothing to hold.',
                    f'Leave out {name} or {other}; FineTune, MoELoRA and CIA train the same blocks in every task.')
            for other, when in changing(config.methods).items()]
