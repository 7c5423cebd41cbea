"""Where files come from: a text or a dict with sizes, and what is wrong with one."""

from __future__ import annotations

import json

import pytest

from coinkit.datasets.instructions import InstructionJson
from coinkit.datasets.origins import Source
from coinkit.datasets.refcoco import RefCOCO
from coinkit.errors import ConfigError

MOON = dict(text='the moon', size='3 GB', pictures=7, archive='all of it')


def test_an_origin_is_a_text_or_a_dict():
    assert Source.read('the moon') == Source('the moon')
    assert Source.read(MOON) == Source('the moon', 3 * 10**9, 7, 'all of it')
    assert Source.read(dict(text='the moon', size='')).size is None
    assert Source.read('').advice == '' and Source.read('the moon').advice == ' Get it from the moon.'
    assert Source.read(dict(text='the moon', size='3 GB')).advice == ' Get it from the moon, about 3 GB.'
    assert 'about 3 GB with other data.' in Source.read(MOON).advice


WRONG = [
    ({**MOON, 'sise': '3 GB'}, r"image_sources\['a'\]: unknown key 'sise'\. Did you mean 'size'\? Allowed: archive, pic"),
    ({**MOON, 'size': '3 Gb'}, r"image_sources\['a'\]\.size: unknown unit 'Gb'\. Did you mean 'GB'"),
    ({**MOON, 'size': 3}, r"\.size: given 3, allowed: a number above 0 and a unit"),
    ({**MOON, 'pictures': 0}, r"\.pictures: given 0, allowed: a whole number from 1"),
    ({**MOON, 'pictures': True}, r"\.pictures: given True"),
    ({**MOON, 'archive': 3}, r"\.archive: given 3, allowed: a text"),
    ({**MOON, 'text': ''}, r"\.text: missing"), ({'size': '3 GB'}, r"\.text: missing"),
    (3, r"given 3, allowed: a text or dict")]


@pytest.mark.parametrize('origin, why', WRONG)
def test_what_is_wrong_is_told_before_anything_is_opened(origin, why):
    for dataset in (lambda **given: InstructionJson(path='none.json', **given),
                    lambda **given: InstructionJson.inventory(path='none.json', **given),
                    lambda **given: RefCOCO('none', **given), lambda **given: RefCOCO.inventory(path='none', **given)):
        with pytest.raises(ConfigError, match=why):
            dataset(image_sources={'a': origin})
    [problem] = InstructionJson.preflight(path='none.json', image_sources={'a': origin})
    with pytest.raises(ConfigError, match=why):
        raise ConfigError(problem)


def test_a_file_counts_no_pictures_and_all_mistakes_are_told_at_once():
    annotations = dict(kind='coco_captions', path='captions.json', source=dict(text='the sun', sizes='1 GB'))
    with pytest.raises(ConfigError) as caught:
        InstructionJson.inventory(path='a.json', source=MOON, annotations=annotations, image_sources={'b': dict(txt='x')})
    said = str(caught.value)
    assert "InstructionJson: source: unknown key 'pictures'" in said and "unknown key 'txt'. Did you mean 'text'?" in said
    assert "InstructionJson: annotations.source: unknown key 'sizes'. Did you mean 'size'?" in said


def test_needs_and_problems_have_the_size(tmp_path):
    given = dict(path=['a.json', 'b.json'], root=str(tmp_path), source=dict(text='the sun', size='226 MB'),
                 image_sources={'pictures|photos': dict(text='the moon', size='13 GB', pictures=82_783)},
                 annotations=dict(kind='gqa', path='gold.json', source=dict(text='the stars', size='5 kB')))
    rows, gold, folder = InstructionJson.inventory(**given)
    assert [(need.source, need.expected_size) for need in (rows, gold, folder)] == [
        ('the sun', 226_000_000), ('the stars', 5_000), ('the moon', 13 * 10**9)]
    assert folder.expected_pictures == 82_783
    said = '\n'.join(map(str, InstructionJson.preflight(**given)))
    for text in ('the sun, about 226 MB.', 'the moon, about 13 GB.', 'the stars, about 5 kB.'):
        assert f'Get it from {text}' in said


def test_of_several_places_the_first_that_is_there_is_needed(tmp_path):
    (tmp_path / 'b.json').write_text(json.dumps([]))
    rows, = InstructionJson.inventory(path=['a.json', 'b.json'], root=str(tmp_path), source='the sun')
    assert rows.path.name == 'b.json' and rows.expected_size is None
