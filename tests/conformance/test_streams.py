"""Every published stream end to end on a miniature copy of its files: two tasks are trained, every seen one is measured.

The copies have the released layout, the benchmark is the shipped config with its own scorers; the backbone is mini-LLaVA.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from coinkit.config import load_config
from coinkit.testing import layouts, small_runs

STREAMS: dict[str, tuple[str, Callable[[Path, int], Any], list[str], list[str]]] = {  # benchmark, maker, tasks, options
    'CoIN': ('coin', layouts.make_coin, ['ScienceQA', 'Grounding'], []),
    'CoIN, diverse, reversed': ('coin', partial(layouts.make_coin, style='diverse'), ['OCR-VQA', 'TextVQA'],
                                ['benchmark.style=diverse', 'order=reverse']),
    'CoIN-Refined': ('coin_refined', layouts.make_coin_refined, ['ImageNet', 'GQA'], []),
    'MLLM-CL domain': ('mllm_cl_domain', layouts.make_mllm_cl_domain, ['Med', 'Fin'], []),
    'MLLM-CL domain, old names': ('mllm_cl_domain', partial(layouts.make_mllm_cl_domain, old_names=True), ['RS', 'Sci'], []),
    'MLLM-CL ability': ('mllm_cl_ability', layouts.make_mllm_cl_ability, ['OCR', 'Math'], []),
    'MLLM-CL ability, counting and GUI': ('mllm_cl_ability', layouts.make_mllm_cl_ability, ['VP', 'APP'], []),
    'UCIT': ('ucit', layouts.make_ucit, ['ArxivQA', 'VizWiz-cap'], [])}
WITHOUT_SCORE = {'APP'}  # scored elsewhere, from the table that is written
CONFIG = '''
_base_ = ['coinkit::_base_/backbones/llava_mini.py', 'coinkit::_base_/schedules/mini.py', 'coinkit::_base_/benchmarks/{}.py']
methods = [dict(type='FineTune', rank=4, alpha=8, train_projector=False)]
'''


@pytest.fixture(scope='module')
def engine():
    with small_runs.small_engine({}) as engine:
        yield engine


@pytest.mark.slow
@pytest.mark.parametrize('stream', STREAMS)
def test_a_stream_trains_and_is_measured(stream: str, engine, tmp_path: Path) -> None:
    benchmark, make, tasks, options = STREAMS[stream]
    make(tmp_path / 'data', 8)
    (tmp_path / 'run.py').write_text(CONFIG.format(benchmark))
    config = load_config(tmp_path / 'run.py', options=[
        *small_runs.SMALL, *options, f'tasks={json.dumps(tasks)}', f'data.root={tmp_path / "data"}',
        'evaluation.zero_shot=False', *(f'benchmark.per_task.{task}.generation.max_new_tokens=4' for task in tasks)])
    engine.train(config, tmp_path / 'run')
    found = small_runs.matrix(tmp_path / 'run')
    assert sorted(found['tasks']) == sorted(tasks)
    for task, score in zip(found['tasks'], found['scores'][-1], strict=True):
        assert (score is None) == (task in WITHOUT_SCORE), task
    assert all(found['counts'][task] for task in tasks)
    answered = [len(list(folder.iterdir())) for folder in sorted((tmp_path / 'run' / 'predictions').iterdir())]
    assert answered == [1, 2]
