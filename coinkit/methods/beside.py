"""What a method that works from task to task asks of the others in the list, before the first step.

A method whose trained blocks do not stay the same says so: `blocks_change = 'task'` (OLoRA: a new block for every task) or
`'phase'` (MRLoRA: the router's and the expert's).
"""

from __future__ import annotations

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


def held_problems(name: str, config: Any) -> list[Problem]:
    """Of a method that holds parameters near the values they had after older tasks."""
    return [Problem('methods', f'{name} holds blocks near their old values, and {other} trains other blocks from {when} to '
                    f'{when}: there would be nothing to hold.',
                    f'Leave out {name} or {other}; FineTune, MoELoRA and CIA train the same blocks in every task.')
            for other, when in changing(config.methods).items()]
