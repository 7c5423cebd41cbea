"""What a method that works from task to task asks of the others in the list, before the first step."""

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
