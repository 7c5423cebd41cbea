"""`analyze`: from run directories or matrices to one `Analysis` that tables, figures, JSON and HTML are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from coinkit.errors import ConfigError
from coinkit.report.aggregate import Run, Stat, find_run, run_of_matrix, unique_names
from coinkit.report.judged import judge_name, judged_run
from coinkit.types import ScoreMatrix

SCHEMA = 'coinkit.forgetting/1'
Denominator = Literal['T-1', 'T']


@dataclass(frozen=True, slots=True)
class Analysis:
    """Runs beside each other. `bwt_denominator` says which BWT is the headline; both are always there by name."""

    runs: tuple[Run, ...]
    bwt_denominator: Denominator = 'T-1'

    @property
    def headline(self) -> tuple[str, ...]:
        """The metrics of summaries and bars."""
        return ('ACC', 'MFT', 'MAA', 'BWT' if self.bwt_denominator == 'T-1' else 'BWT_over_T', 'Forgetting_max')

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know before believing the numbers."""
        from coinkit.report.scored import bad_image_flags  # which makes tables of an analysis
        fractions = [f'{run.name}: every score is at most 1. Scores are percent: are these fractions?'
                     for run in self.runs if run.matrix is not None and _looks_like_fractions(run.matrix)]
        return (*fractions, *(flag for run in self.runs for flag in bad_image_flags(run)))

    def to_json(self) -> dict[str, Any]:
        return {'schema': 'coinkit.analysis/1', 'bwt_denominator': self.bwt_denominator,
                'runs': [run_to_json(run, bwt_denominator=self.bwt_denominator) | _matrix_json(run)
                         for run in self.runs]}


def analyze(sources: Sequence[Path | str | Run] | Mapping[str, ScoreMatrix], *,
            bwt_denominator: Denominator = 'T-1') -> Analysis:
    """Analyse run directories and matrix files, or matrices by name."""
    if bwt_denominator not in ('T-1', 'T'):
        raise ConfigError(f"bwt_denominator: given {bwt_denominator!r}, allowed 'T-1' or 'T'.")
    if isinstance(sources, Mapping):
        runs = [run_of_matrix(name, matrix) for name, matrix in sources.items()]
    else:
        runs = [source if isinstance(source, Run) else find_run(Path(source)) for source in sources]
    if not runs:
        raise ConfigError('nothing to analyse. Give run directories, or --matrix FILE.')
    return Analysis(unique_names(runs), bwt_denominator)


def run_to_json(run: Run, *, bwt_denominator: Denominator = 'T-1') -> dict[str, Any]:
    """The content of forgetting.json: the continual metrics by name, then what they are made of."""
    blob: dict[str, Any] = {'schema': SCHEMA, 'name': run.name, 'tasks': list(run.tasks)}
    blob |= {name: stat.mean for name, stat in run.metrics.items()}
    blob |= {'bwt_denominator': bwt_denominator, 'average_curve': [stat.mean for stat in run.curve],
             'per_task': {task: _means(columns) for task, columns in run.per_task.items()},
             'missing': list(run.missing)}
    judged = judged_run(run)
    if judged is not None:
        blob['judge'] = {'model': judge_name(run)} | {name: stat.mean for name, stat in judged.metrics.items()}
    if run.members:
        blob |= {'std': {name: stat.std for name, stat in run.metrics.items()},
                 'per_task_std': {task: {key: stat.std for key, stat in columns.items()}
                                  for task, columns in run.per_task.items()},
                 'members': [run_to_json(member, bwt_denominator=bwt_denominator) for member in run.members]}
    return blob


def _matrix_json(run: Run) -> dict[str, Any]:
    if run.matrix is None:
        return {}
    return {'matrix': run.matrix.to_json()} | ({'matrix_std': [list(row) for row in run.std]} if run.std else {})


def _means(columns: Mapping[str, Stat]) -> dict[str, float | None]:
    return {key: stat.mean for key, stat in columns.items()}


def _looks_like_fractions(matrix: ScoreMatrix) -> bool:
    values = [value for row in matrix.scores for value in row if value is not None]
    return bool(values) and 0 < max(values) <= 1
