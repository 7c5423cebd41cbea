"""The continual metrics: pure functions of an accuracy matrix, in percent points.

A[i][j] is the score on task j after stage i, T tasks, None where not measured; z[j] is the zero-shot row. The lower
triangle j <= i is what a run owes; a metric whose cells are not all there is None, and `measure` lists what is missing.
The names are the ones used in files, tables and papers' formulas alike; `FORMULAS` says what each one is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Row = Sequence[float | None]
Matrix = Sequence[Row]


@dataclass(frozen=True, slots=True)
class Formula:
    """What a metric is, for tables and reports; `direction` is which way is better."""

    name: str
    text: str
    direction: str  # 'higher' | 'lower'
    alias_of: str = ''
    note: str = ''


FORMULAS = (
    Formula('ACC', '(1/T) Σ_j A[T][j]', 'higher', note='final average'),
    Formula('MFN', '(1/T) Σ_j A[T][j]', 'higher', 'ACC'),
    Formula('MFT', '(1/T) Σ_i A[i][i]', 'higher', note='average right after learning'),
    Formula('NewACC', '(1/T) Σ_i A[i][i]', 'higher', 'MFT'),
    Formula('MAA', '(1/T) Σ_i (1/i) Σ_{j≤i} A[i][j]', 'higher', note='mean of the average accuracies'),
    Formula('BWT', '(1/(T−1)) Σ_{j<T} (A[T][j] − A[j][j])', 'higher', note='negative = forgetting'),
    Formula('BWT_over_T', '(1/T) Σ_{j<T} (A[T][j] − A[j][j])', 'higher', note='CoIN family, equals ACC − MFT'),
    Formula('Forgetting_max', '(1/(T−1)) Σ_{i<T} (max_{i≤j<T} A[j][i] − A[T][i])', 'lower', note='LCIA eq. 50'),
    Formula('Forgetting_diag', '−BWT', 'lower', 'BWT'),
    Formula('FWT_raw', '(1/(T−1)) Σ_{i≥2} A[i−1][i]', 'higher', note='LCIA eq. 53'),
    Formula('FWT', '(1/(T−1)) Σ_{i≥2} (A[i−1][i] − z[i])', 'higher', note='over zero-shot'),
)


def ACC(A: Matrix) -> float | None:
    """Mean of the last row."""
    return _mean([A[-1][j] for j in range(len(A))])


def MFT(A: Matrix) -> float | None:
    """Mean of the diagonal."""
    return _mean([A[i][i] for i in range(len(A))])


def MAA(A: Matrix) -> float | None:
    """Mean over stages of the average over the tasks seen so far."""
    return _mean(average_curve(A))


def BWT(A: Matrix) -> float | None:
    """Final minus just-learned, over the T - 1 earlier tasks; undefined for one task."""
    return _mean(task_bwt(A)[:-1])


def BWT_over_T(A: Matrix) -> float | None:
    """The same sum divided by T, as in the CoIN family; 0 for one task."""
    return _mean([*task_bwt(A)[:-1], 0.0])


def Forgetting_max(A: Matrix) -> float | None:
    """Best score before the last stage minus the final one, over the T - 1 earlier tasks."""
    return _mean(task_forgetting(A)[:-1])


def Forgetting_diag(A: Matrix) -> float | None:
    """Just-learned minus final."""
    value = BWT(A)
    return None if value is None else -value


def FWT_raw(A: Matrix) -> float | None:
    """Score on each task right before it is learned."""
    return _mean([A[i - 1][i] for i in range(1, len(A))])


def FWT(A: Matrix, zero_shot: Row) -> float | None:
    """Score on each task right before it is learned, over the zero-shot score."""
    return _mean([_minus(A[i - 1][i], zero_shot[i]) for i in range(1, len(A))])


MFN, NewACC = ACC, MFT


def average_curve(A: Matrix) -> list[float | None]:
    """Average accuracy over the tasks seen so far, per stage."""
    return [_mean(A[i][:i + 1]) for i in range(len(A))]


def zero_shot_mean(zero_shot: Row) -> float | None:
    """Average over all tasks before training: what published tables print beside the zero-shot row."""
    return _mean(zero_shot)


def task_bwt(A: Matrix) -> list[float | None]:
    """Per task: final minus just-learned (0 for the last task)."""
    return [_minus(A[-1][j], A[j][j]) for j in range(len(A))]


def task_forgetting(A: Matrix) -> list[float | None]:
    """Per task: best over the stages from learning it to the one before the last, minus final; None for the last."""
    last = len(A) - 1
    return [_minus(_max([A[i][j] for i in range(j, last)]), A[last][j]) for j in range(len(A))]


def task_fwt(A: Matrix, zero_shot: Row) -> list[float | None]:
    """Per task: score right before learning it over zero-shot; None for the first."""
    return [None, *[_minus(A[i - 1][i], zero_shot[i]) for i in range(1, len(A))]]


@dataclass(frozen=True, slots=True)
class ContinualMetrics:
    """All metrics of one matrix; `missing` names required cells as (stage, task), both 1-based."""

    values: Mapping[str, float | None]
    missing: tuple[tuple[int, int], ...] = ()
    curve: tuple[float | None, ...] = ()
    per_task: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)


def measure(A: Matrix, zero_shot: Row | None = None) -> ContinualMetrics:
    """Every metric of a square matrix; the FWT pair only where its cells (and the zero-shot row) exist."""
    T = len(A)
    values = {function.__name__: function(A) for function in _REQUIRED}
    values |= {'MFN': values['ACC'], 'NewACC': values['MFT']}
    if all(A[i - 1][i] is not None for i in range(1, T)):
        values['FWT_raw'] = FWT_raw(A)
        if zero_shot is not None and None not in zero_shot[1:]:
            values['FWT'] = FWT(A, zero_shot)
    missing = tuple((i + 1, j + 1) for i in range(T) for j in range(i + 1) if A[i][j] is None)
    ordered = {formula.name: values[formula.name] for formula in FORMULAS if formula.name in values}
    return ContinualMetrics(ordered, missing, tuple(average_curve(A)), _per_task(A, zero_shot))


def _per_task(A: Matrix, zero_shot: Row | None) -> dict[str, tuple[float | None, ...]]:
    T = len(A)
    table = {'zero_shot': tuple(zero_shot) if zero_shot is not None else None,
             'learned': tuple(A[j][j] for j in range(T)), 'final': tuple(A[-1]),
             'BWT': tuple(task_bwt(A)), 'Forgetting_max': tuple(task_forgetting(A)),
             'FWT': tuple(task_fwt(A, zero_shot)) if zero_shot is not None else None}
    return {name: column for name, column in table.items()
            if column is not None and (name != 'FWT' or any(value is not None for value in column))}


_REQUIRED: tuple[Callable[[Matrix], float | None], ...] = (
    ACC, MFT, MAA, BWT, BWT_over_T, Forgetting_max, Forgetting_diag)


def _mean(values: Iterable[float | None]) -> float | None:
    """None when a value is missing or there are none."""
    numbers = list(values)
    return None if not numbers or None in numbers else math.fsum(numbers) / len(numbers)


def _max(values: Sequence[float | None]) -> float | None:
    return None if not values or None in values else max(values)


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
