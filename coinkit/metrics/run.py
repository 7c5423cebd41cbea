"""From files to a score: read predictions and annotations, match them by id, and score.

With annotations the denominator is theirs: an id without a prediction becomes a row whose text is None, which every
scorer counts as wrong. They are the gold, too: whatever gold a prediction's line holds is left out. Without annotations,
the predictions' own references are used and every row counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from coinkit.errors import DataError
from coinkit.metrics import files
from coinkit.metrics.base import GOLD_KEYS, refuse_duplicates
from coinkit.types import Metric, Prediction, Score

# Two names of one thing in a context: the second of an annotation stands against the first of a prediction's line.
_OTHER_NAME = {'num_choices': 'choices', 'category': 'answer_type', 'task': 'type', 'type': 'task'}


def read_predictions(path: Path) -> list[Prediction]:
    """The lines of a predictions file; the error names file and line."""
    return [item for _, item in files.predictions(path)]


def read_annotations(path: Path) -> list[Prediction]:
    """Gold answers as prediction rows without text."""
    return [item for _, item in files.annotations(path)]


def matched_rows(metric: Metric, predictions: Path, annotations: Path | None = None, *,
                 tell: Callable[[str], object] = lambda text: None) -> list[Prediction]:
    """What the metric scores: a row per prediction, or per annotation where there are any; `tell` hears what was left
    out of the annotations."""
    placed = files.predictions(predictions)
    if not placed:
        raise DataError(f'{predictions}: no predictions in this file.')
    rows, by_position = [item for _, item in placed], getattr(metric, 'by_position', False)
    by_rows = getattr(metric, 'by_rows', False) if annotations is None else by_position
    if not by_rows:
        _refuse_second_answers(placed)
    if annotations is None:
        return rows
    golds = _under_their_names(rows, files.annotations(annotations), getattr(metric, 'id_prefix', ''))
    _refuse_second_answers(golds)
    if not by_position:
        _refuse_strangers(placed, {item.id for _, item in golds}, annotations)
        golds = _of_their_splits({item.id for item in rows}, golds, annotations, tell)
    _refuse_without_gold(metric, golds)
    return align(rows, [item for _, item in golds], by_position=by_position,
                 gold_keys={*GOLD_KEYS, *getattr(metric, 'gold_keys', ())})


def score_files(metric: Metric, predictions: Path, annotations: Path | None = None) -> tuple[Score, list[str]]:
    """Score a predictions file; also the ids in the order of `per_sample`."""
    rows = matched_rows(metric, predictions, annotations)
    return metric.score(rows), [row.id for row in rows]


def align(predictions: Sequence[Prediction], annotations: Sequence[Prediction], *, by_position: bool = False,
          gold_keys: Collection[str] = GOLD_KEYS) -> list[Prediction]:
    """One row per annotation, in its order, with the prediction's text, or None where there is no prediction.

    Gold is the annotation's alone: references and `gold_keys` of a prediction's line are left out."""
    refuse_duplicates(annotations)
    if by_position:
        return _align_rows(predictions, annotations, gold_keys)
    refuse_duplicates(predictions)
    answered = {item.id: item for item in predictions}
    strangers = sorted(answered.keys() - {gold.id for gold in annotations})
    if strangers:
        raise DataError(f'{len(strangers)} predictions have no annotation: {", ".join(map(repr, strangers[:5]))}. '
                        'Ids are compared as strings; check that both files are of the same split.')
    return [_merge(gold, answered.get(gold.id), gold_keys) for gold in annotations]


def _under_their_names(rows: Sequence[Prediction], golds: Sequence[files.Placed], prefix: str) -> Sequence[files.Placed]:
    """Annotations that are numbered, under the ids of predictions that have `prefix` before the number."""
    if not prefix or not any(item.id.startswith(prefix) for item in rows):
        return golds
    return [(where, item if item.id.startswith(prefix) else replace(item, id=prefix + item.id)) for where, item in golds]


def _refuse_without_gold(metric: Metric, golds: Sequence[files.Placed]) -> None:
    """Annotations without a gold answer: a prediction's own gold is not taken in their place."""
    if not getattr(metric, 'needs_gold', False):
        return
    keys, counted = getattr(metric, 'gold_keys', ()), getattr(metric, 'counted', lambda item: True)
    bare = [(where, item.id) for where, item in golds
            if not item.references and all(item.context.get(key) is None for key in keys) and counted(item)]
    if bare:
        where, name = bare[0]
        places = ', '.join(['references', 'answers', 'answer', *keys])
        raise DataError(f'{where}: id {name!r} has no gold answer; {len(bare)} annotations of {len(golds)} have none. '
                        f"{metric.name} takes it from the annotation's {places}; what a prediction's line holds does not "
                        'count.')


def _refuse_second_answers(placed: Sequence[files.Placed]) -> None:
    first: dict[str, str] = {}
    for where, item in placed:
        if item.id in first:
            raise DataError(f'{where}: duplicate id {item.id!r}; it is in {first[item.id]} already. Each id may occur '
                            'once.')
        first[item.id] = where


def _refuse_strangers(placed: Sequence[files.Placed], known: set[str], annotations: Path) -> None:
    strangers = [(where, item.id) for where, item in placed if item.id not in known]
    if strangers:
        where, name = strangers[0]
        raise DataError(f'{where}: id {name!r} is not in {annotations}; {len(strangers)} predictions have no annotation, '
                        f'of {len(placed)}. Ids are compared as strings; check that both files are of the same split.')


def _of_their_splits(answered: set[str], golds: Sequence[files.Placed], annotations: Path,
                     tell: Callable[[str], object]) -> Sequence[files.Placed]:
    """Of a file of all splits (ScienceQA's problems.json) those that the predictions are of: nobody asked the others."""
    splits = {item.id: item.context.get('split') for _, item in golds}
    asked = {splits[name] for name in answered if isinstance(splits[name], str)}
    if not asked or not all(isinstance(split, str) for split in splits.values()) or asked == set(splits.values()):
        return golds
    kept = [placed for placed in golds if splits[placed[1].id] in asked]
    tell(f'{annotations}: the predictions are of the split {" and ".join(sorted(asked))}: {len(kept)} of its {len(golds)} '
         'records are divided by.')
    return kept


def _merge(gold: Prediction, answer: Prediction | None, gold_keys: Collection[str]) -> Prediction:
    if answer is None:
        return gold
    own = {key: value for key, value in answer.context.items()
           if key not in gold_keys and _OTHER_NAME.get(key) not in gold.context}
    return replace(gold, prediction=answer.prediction, context={**own, **gold.context}, route=answer.route)


def _align_rows(predictions: Sequence[Prediction], annotations: Sequence[Prediction],
                gold_keys: Collection[str]) -> list[Prediction]:
    if len(predictions) > len(annotations):
        raise DataError(f'{len(predictions)} predictions but only {len(annotations)} annotations; rows cannot be '
                        'paired by position.')
    padded = [*predictions, *[None] * (len(annotations) - len(predictions))]
    return [_merge(gold, answer, gold_keys) for gold, answer in zip(annotations, padded, strict=True)]
