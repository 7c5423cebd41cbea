"""Constructor arguments are read from the source, without importing the component, wherever the source tells."""

import sys
from typing import Any, Literal

import pytest

from coinkit.config.kinds import annotation, describe, fits
from coinkit.config.signatures import REQUIRED, UNKNOWN, one_line_doc, signature_of
from coinkit.registry import METHODS, Registry

SOURCE = '''
import nothing_of_that_name
from dataclasses import dataclass, field

import argparse
from string import Template


class Plain:
    """First line.

    More.
    """

    def __init__(self, rank: int, *, alpha: float = 2.0, mode: Literal['a', 'b'] = 'a', where=print): ...


class Child(Plain):
    """Inherits."""


@dataclass(frozen=True)
class Data:
    size: int
    tags: list[str] = field(default_factory=list)


@dataclass
class More(Data):
    scale: float | None = None


class Open:
    def __init__(self, **anything): ...


class Imported(Template):
    pass


class Foreign(argparse.Namespace):
    pass
'''


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Registry:
    (tmp_path / 'some_components.py').write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    found = Registry('thing')
    for name in ('Plain', 'Child', 'Data', 'More', 'Open', 'Imported', 'Foreign'):
        found.add(name, f'some_components:{name}')
    return found


def test_an_own_init_is_parsed(registry) -> None:
    signature = signature_of(registry, 'Plain')
    assert list(signature.parameters) == ['rank', 'alpha', 'mode', 'where']
    assert signature.parameters['rank'].default is REQUIRED
    assert signature.parameters['alpha'].default == 2.0
    assert signature.parameters['mode'].kind == Literal['a', 'b']
    assert signature.parameters['where'].default is UNKNOWN
    assert 'some_components' not in sys.modules


def test_bases_of_the_same_file_and_dataclasses_are_followed(registry) -> None:
    assert list(signature_of(registry, 'Child').parameters) == ['rank', 'alpha', 'mode', 'where']
    assert list(signature_of(registry, 'More').parameters) == ['size', 'tags', 'scale']
    assert not signature_of(registry, 'Data').parameters['tags'].required
    assert signature_of(registry, 'Open').open
    assert list(signature_of(registry, 'Imported').parameters) == ['template']
    assert 'some_components' not in sys.modules


def test_a_foreign_base_means_an_import(registry) -> None:
    with pytest.raises(ModuleNotFoundError, match='nothing_of_that_name'):
        signature_of(registry, 'Foreign')


def test_docstrings_are_read_without_import(registry) -> None:
    assert one_line_doc(registry.entry('Plain')) == 'First line.'
    assert one_line_doc(registry.entry('Open')) == ''
    assert all(one_line_doc(entry) for entry in METHODS.entries())


@pytest.mark.parametrize(('text', 'good', 'bad', 'words'), [
    ('int', [1], [1.5, True, '1'], 'a whole number'),
    ('float | None', [1, 0.5, None], [True, 'x'], 'a number or None'),
    ('Optional[str]', ['x', None], [1], 'a string or None'),
    ("Literal['a', 'b']", ['a'], ['c', 1], "'a' or 'b'"),
    ('Sequence[str]', [['a'], ('a',), []], ['a', [1]], 'a list of strings'),
    ('tuple[float, float]', [(1, 2)], [(1,), 'ab'], 'a list of numbers'),
    ('dict[str, int]', [{'a': 1}], [{'a': 'b'}, 3], 'a dict'),
    ('bool', [True], [1, 'true'], 'True or False'),
])
def test_kinds(text: str, good: list, bad: list, words: str) -> None:
    kind = annotation(text)
    assert all(fits(value, kind) for value in good)
    assert not any(fits(value, kind) for value in bad)
    assert describe(kind) == words


def test_annotations_that_mean_nothing_here_allow_everything() -> None:
    assert annotation('torch.Tensor') is Any
    assert fits(object(), annotation('Callable[[int], str]'))
