"""Protocol lines are read from the benchmark's config."""

from __future__ import annotations

import pytest

from coinkit.config.instructions import asked, instruction_of
from coinkit.errors import ConfigError

TASKS = ('ScienceQA', 'TextVQA', 'ImageNet', 'GQA', 'VizWiz', 'Grounding', 'VQAv2', 'OCR-VQA')


def test_coin_has_a_line_for_every_task_in_two_styles() -> None:
    for style, different in (('original', 4), ('diverse', 8)):
        assert len({instruction_of(task, style=style) for task in TASKS}) == different


def test_the_question_stands_in_its_place_braces_and_all() -> None:
    assert asked(instruction_of('Grounding'), 'the {} bowl').endswith('describes: the {} bowl')
    assert asked(instruction_of('ImageNet', style='diverse'), '') == instruction_of('ImageNet', style='diverse')


def test_wrong_names_and_benchmarks_without_lines_are_told() -> None:
    with pytest.raises(ConfigError, match="unknown style 'divers'.*Did you mean 'diverse'"):
        instruction_of('GQA', style='divers')
    with pytest.raises(ConfigError, match="unknown task 'GQ'.*Did you mean 'GQA'"):
        instruction_of('GQ')
    with pytest.raises(ConfigError, match='this benchmark has none'):
        instruction_of('GQA', benchmark='_base_/benchmarks/mini')
