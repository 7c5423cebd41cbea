"""Which letter stands for which expert, and which letter an answer of the router names.

`strict` reads the first character. `upstream` is the released code's rule: more than one character that is no letter of
an expert makes the answer void, else the first letter of the alphabet that occurs anywhere in it counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from coinkit.config.task_keys import LETTERS
from coinkit.errors import Problem, unknown
from coinkit.types import Task

ALPHABET = LETTERS


def assign_letters(stream: Sequence[Task], alphabet: str, chosen: Mapping[str, str]) -> dict[str, str]:
    """Letters by task: those chosen, else the benchmark's, else the free ones of the alphabet in the order of the stream."""
    fixed = {**{task.name: task.letter for task in stream if task.letter}, **chosen}
    free = (letter for letter in alphabet if letter not in fixed.values())
    return {task.name: fixed[task.name] if task.name in fixed else next(free) for task in stream}


def parse_letter(text: str, known: Collection[str], how: str) -> str | None:
    """The letter an answer names; None when it names none."""
    if how == 'strict':
        first = text.strip()[:1].upper()
        return first if first and first in known else None
    if sum(character not in known for character in text) > 1:
        return None
    return next((letter for letter in sorted(known) if letter in text), None)


def alphabet_problems(alphabet: str, chosen: Mapping[str, str]) -> list[Problem]:
    """What is wrong with the alphabet and the chosen letters, whatever the tasks are."""
    where, problems = 'methods: alphabet', []
    wrong = sorted({letter for letter in alphabet if not (letter.isascii() and (letter.isupper() or letter.isdigit()))})
    if wrong or not alphabet:
        problems.append(Problem(where, f'{alphabet!r} given, allowed: A to Z and 0 to 9, at least one.'))
    if len(set(alphabet)) < len(alphabet):
        problems.append(Problem(where, f'{alphabet!r} given, in which a letter occurs twice.'))
    for task, letter in chosen.items():
        if letter not in tuple(alphabet):
            problems.append(Problem(f'methods: letters.{task}', f'{letter!r} given, allowed: one of {alphabet}.'))
    taken = list(chosen.values())
    for letter in sorted({letter for letter in taken if taken.count(letter) > 1}):
        names = ' and '.join(task for task, one in chosen.items() if one == letter)
        problems.append(Problem('methods: letters', f'{names} have the same letter {letter!r}.', 'Give each its own.'))
    return problems


def stream_problems(stream: Sequence[Task], known: Collection[str], alphabet: str,
                    chosen: Mapping[str, str]) -> list[Problem]:
    """Whether there is a letter of its own for every task; `known` tasks of the benchmark may be given one."""
    problems = [unknown('methods: letters', 'task', task, known) for task in chosen if task not in known]
    needed = len({*(task.name for task in stream), *chosen})
    if needed > len(alphabet):
        problems.append(Problem('methods: alphabet', f'{alphabet!r} has {len(alphabet)} letters for {needed} experts.',
                                'Give a longer alphabet (letters and digits).'))
    for task in stream:
        if not task.letter or task.name in chosen:
            continue
        if task.letter not in alphabet:
            problems.append(Problem('methods: alphabet', f'{alphabet!r} given, and the benchmark calls {task.name} '
                                    f'{task.letter!r}.', f"Leave alphabet out, or give letters={{'{task.name}': ...}}."))
        problems += [Problem(f'methods: letters.{other}', f'{letter!r} given, which {task.name} has in the benchmark.',
                             f'Give {task.name} another one as well.')
                     for other, letter in chosen.items() if letter == task.letter]
    return problems
