"""The shipped benchmarks on miniature copies of their released layouts: found, joined, and scored with their own gold."""

from __future__ import annotations

from functools import partial

import pytest

from coinkit.config import load_config, resolve_stream
from coinkit.engine.datasets import StreamDatasets
from coinkit.registry import METRICS
from coinkit.testing.layouts.coin import make_coin, make_coin_refined
from coinkit.testing.layouts.mllm_cl import make_mllm_cl_ability, make_mllm_cl_domain
from coinkit.testing.layouts.ucit import make_ucit
from coinkit.types import Prediction

LAYOUTS = {
    'CoIN': ('coin/llava_finetune', make_coin, []),
    'CoIN diverse': ('coin/llava_moelora_diverse', partial(make_coin, style='diverse'), []),
    'CoIN-Refined': ('coin_refined/llava_cia', make_coin_refined, []),
    'CoIN-Refined 10Type': ('coin_refined/llava_cia', partial(make_coin_refined, style='10type'),
                            ['benchmark.style=10type']),
    'domain': ('mllm_cl/domain_llava_finetune', make_mllm_cl_domain, []),
    'domain, old names': ('mllm_cl/domain_llava_finetune', partial(make_mllm_cl_domain, old_names=True), []),
    'ability': ('mllm_cl/ability_llava_finetune', make_mllm_cl_ability, []),
    'ability, old names': ('mllm_cl/ability_llava_finetune', partial(make_mllm_cl_ability, old_names=True), []),
    'UCIT': ('ucit/llava_finetune', partial(make_ucit, images='datasets'), []),
    'UCIT, names of MCITlib': ('ucit/llava_finetune', partial(make_ucit, names='mcitlib'), [])}
NOT_PERCENT = {'textvqa_m4c', 'ucit_caption', 'mllmcl_app'}  # ten references that differ; CIDEr; scored elsewhere


def datasets_of(name: str, root, options) -> StreamDatasets:
    config = load_config(name, options=[*options, f'data.root={root}'])
    return StreamDatasets(resolve_stream(config), config.data)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_layout_is_found_and_scores_its_own_gold(layout, tmp_path) -> None:
    name, make, options = LAYOUTS[layout]
    make(tmp_path, 2)
    datasets = datasets_of(name, tmp_path, options)
    assert list(map(str, datasets.preflight())) == []
    for index, task in enumerate(datasets.stream):
        sample = datasets.train(index)[0]
        assert sample.turns[-1].role == 'gpt' and all(image.load() for image in sample.images)
        test = datasets.test(index)
        assert all(sample.meta['prompt'] and all(image.load() for image in sample.images) for sample in test)
        score = METRICS.build(task.metric).score([Prediction(each.id, each.references[0], each.references, each.meta)
                                                  for each in test]) if task.metric['type'] != 'ucit_caption' else None
        assert task.metric['type'] in NOT_PERCENT or score.value == 100, task.name


def test_what_a_scorer_needs_is_missed_before_the_first_step(tmp_path) -> None:
    written = make_coin(tmp_path, 2)
    for name in ('ScienceQA/problems', 'TextVQA/TextVQA_0.5.1_val'):
        written.files[name].unlink()
    said = '\n'.join(map(str, datasets_of('coin/llava_finetune', tmp_path, []).preflight()))
    assert '1 of 1 rows have no num_choices' in said and 'cl_dataset/ScienceQA/problems.json' in said
    assert '1 of 1 rows have no 10 gold answers' in said and 'TextVQA_0.5.1_val.json' in said


def test_fin_tells_the_kind_of_answer_and_ocr_stays_on_its_line(tmp_path) -> None:
    make_mllm_cl_domain(tmp_path / 'domain', 2, test_rows=8)
    domain = datasets_of('mllm_cl/domain_llava_finetune', tmp_path / 'domain', ['tasks=[Fin]'])
    ends = {sample.references[0] in ('Yes', 'No'): sample.turns[-1].text.rsplit('? ')[-1] for sample in domain.test(0)}
    assert ends[True].endswith('Only answer with yes or no directly.')
    assert ends[False].endswith('Answer with the given letter directly, e.g., A, B, C, D.')
    make_mllm_cl_ability(tmp_path / 'ability', 2)
    ability = datasets_of('mllm_cl/ability_llava_finetune', tmp_path / 'ability', ['tasks=[OCR]'])
    assert ability.test(0)[0].turns[-1].text.startswith('<image> ')


def test_med_is_asked_for_one_word_in_the_baseline_alone(tmp_path) -> None:
    make_mllm_cl_domain(tmp_path, 2)
    asked = {name: datasets_of(f'mllm_cl/domain_llava_{name}', tmp_path, ['tasks=[Med]']).test(0)[0].turns[-1].text
             for name in ('zero_shot', 'finetune')}
    assert asked['zero_shot'] == asked['finetune'] + ' Answer the question with a single word (or phrase).'
