"""`template` and `letter` of a benchmark's tasks: read, kept, changed by one key, and refused where they cannot be used."""

from __future__ import annotations

import pytest

from coinkit.config import load_config, resolve_stream
from coinkit.config.benchmarks import load_benchmark
from coinkit.config.dump import diff
from coinkit.errors import ConfigError

LETTERS = {'RS': 'E', 'Med': 'C', 'AD': 'D', 'Sci': 'B', 'Fin': 'A'}
RUN = "_base_ = ['base.py']\n"


def test_they_reach_the_stream_whatever_its_order() -> None:
    for options in ((), ('order=reverse',), ('tasks=["Fin","Med"]',)):
        stream = resolve_stream(load_config('mllm_cl/domain_llava_mr_lora', options=options))
        assert {task.name: task.letter for task in stream} == {task.name: LETTERS[task.name] for task in stream}
    abilities = load_config('mllm_cl/ability_llava_mr_lora', mini=True).benchmark.tasks
    assert {task.name: task.letter for task in abilities} == {'OCR': 'A', 'Math': 'C', 'VP': 'B', 'APP': 'D'}
    coin = {task.name: task.template for task in load_config('coin_refined/llava_cia').benchmark.tasks}
    assert [name for name, template in coin.items() if template] == ['ImageNet', 'Grounding']


def test_a_run_with_another_letter_is_another_run() -> None:
    old, new = (load_config('mllm_cl/domain_llava_mr_lora', options=options) for options in
                ((), ('benchmark.per_task.Fin.letter=F', r"benchmark.per_task.AD.template='\A.*'")))
    assert diff(old, old) == []
    assert diff(old, new) == [r"stream task 3.template: '' -> '\\A.*'", "stream task 5.letter: 'A' -> 'F'"]


@pytest.mark.parametrize(('options', 'message'), [
    (('benchmark.tasks.0.letter=AB', 'benchmark.tasks.1.letter=B'),
     "benchmark.tasks.0.letter: given 'AB', allowed: one of A"),
    (('benchmark.tasks.0.letter=a', 'benchmark.tasks.1.letter=B'), "given 'a', allowed: one of A to Z"),
    (('benchmark.tasks.0.letter=C', 'benchmark.tasks.1.letter=C'),
     "benchmark.tasks.1.letter: 'C' given for GQA, and ScienceQA has it already. Give each task its own"),
    (('benchmark.tasks.0.letter=C',), 'GQA without a letter, and others have one. Give every task its own'),
    (('benchmark.tasks.0.letter=1', 'benchmark.tasks.1.letter=B'), 'allowed: a string'),
    (('benchmark.per_task.GQA.template="("',), "benchmark.tasks.1.template: '(' is no regular expression: missing )"),
    (("benchmark.templates=['fine','(']",), "benchmark.templates.1: '(' is no regular expression")])
def test_what_cannot_be_used_is_told_with_its_place(write, options: tuple[str, ...], message: str) -> None:
    file = write('run.py', RUN)
    for load in (load_config, load_benchmark):
        with pytest.raises(ConfigError) as error:
            load(file, options=options)
        assert message in str(error.value)


def test_one_letter_each_or_none(write) -> None:
    given = load_config(write('run.py', RUN), options=('benchmark.tasks.0.letter=Z', 'benchmark.tasks.1.letter=B'))
    assert [task.letter for task in given.benchmark.tasks] == ['Z', 'B']
