"""The examination of made benchmarks: every fault is found, placed and counted, and a whole one is ready."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from PIL import Image

from coinkit.config.schema import Benchmark, Data, Published, TaskSection
from coinkit.data.doctor.examine import Examination, Options
from coinkit.data.doctor.sets import sets_of
from coinkit.data.index import SUFFIX
from coinkit.registry import DATASETS
from coinkit.types import Sample, Turn


def row(number, image='pictures/0.png', text='What?', answer='yes'):
    return {'id': f'r{number}', 'image': image,
            'conversations': [{'from': 'human', 'value': f'<image>\n{text}'}, {'from': 'gpt', 'value': answer}]}


def question(number, image='pictures/1.png', text='Which?', **more):
    return {'question_id': f'q{number}', 'image': image, 'text': text, 'answer': 'yes', **more}


class Made:
    """A benchmark of one task in a folder: two training rows, two questions, two pictures of two colours."""

    def __init__(self, root):
        self.root, self.published, self.on_bad_image = root, Published(), 'error'
        self.image_sources = {'pictures': 'the moon (3 GB)'}
        for number, color in enumerate(('red', 'blue')):
            self.picture(f'pictures/{number}.png', color)
        self.write('train', [row(0), row(1, text='Who?')])
        self.write('test', [question(0), question(1, text='Whose?')])

    def picture(self, name, color):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (64, 48), color).save(self.root / name)

    def write(self, split, rows):
        (self.root / f'{split}.json').write_text(json.dumps(rows))

    def examine(self, **options):
        def files(split):
            return {'type': 'InstructionJson', 'path': f'{split}.json', 'source': 'the sun',
                    'image_sources': self.image_sources}
        task = TaskSection(name='Made', train=files('train'), test=files('test'), metric={'type': 'gqa'},
                           published=self.published)
        data = Data(root=str(self.root), on_bad_image=self.on_bad_image)
        sets = sets_of(Benchmark(name='made', tasks=(task,)), data)
        return Examination('made', data.root, sets, Options(workers=2, **options), no_bar).run()


@contextmanager
def no_bar(label, total, unit):
    class Bar:
        def advance(self, count=1, **notes):
            pass
    yield Bar()


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return Made(tmp_path / 'data')


def kinds(report, level='fault'):
    return [finding.kind for finding in report.findings if finding.level == level]


def test_a_whole_benchmark_is_ready_and_its_indexes_are_written(made):
    report = made.examine()
    assert report.ready(strict=True) and not report.findings
    assert [(line.kind, line.state, line.count) for line in report.lines] == [
        ('file', 'present', 2), ('folder', 'present', 2), ('file', 'present', 2)]
    assert report.checked == {'rows': 4, 'pictures named': 2, 'pictures decoded': 2}
    assert {path.name for path in made.root.glob(f'*{SUFFIX}')} == {f'train.json{SUFFIX}', f'test.json{SUFFIX}'}


def test_only_looking_writes_nothing(made):
    before = sorted(made.root.rglob('*'))
    assert made.examine(write=False).ready()
    assert sorted(made.root.rglob('*')) == before and not (made.root.parent / 'cache').exists()


def test_missing_places_tell_where_to_get_them(made):
    made.published = Published(test=7)
    (made.root / 'test.json').unlink()
    for path in (made.root / 'pictures').iterdir():
        path.unlink()
    (made.root / 'pictures').rmdir()
    report = made.examine()
    assert {line.place.rpartition('/')[2]: line.state for line in report.lines} == {
        'train.json': 'present', 'test.json': 'missing', 'pictures': 'missing'}
    assert [line.published for line in report.lines if line.place.endswith('test.json')] == [7], 'how many to expect'
    told = '\n'.join(map(str, report.findings))
    assert 'test.json: there is no such file. Get it from the sun.' in told
    assert 'pictures: there is no such image folder. Get it from the moon (3 GB).' in told
    assert kinds(report) == ['missing_folder', 'missing_file', 'missing_image']


def test_missing_empty_and_truncated_pictures(made):
    made.write('train', [row(number, f'pictures/{number}.png') for number in range(5)])
    whole = (made.root / 'pictures/0.png').read_bytes()
    (made.root / 'pictures/2.png').write_bytes(whole[:len(whole) // 2])
    (made.root / 'pictures/3.png').touch()
    report = made.examine()
    told = {finding.kind: finding for finding in report.findings}
    assert set(told) == {'missing_image', 'empty_image', 'bad_image', 'overlap_images'}
    assert "1 of 5 pictures are not in" in str(told['missing_image']) and 'record 4' in str(told['missing_image'])
    assert 'record 3' in str(told['empty_image']) and 'record 2: cannot be decoded' in str(told['bad_image'])
    folder = report.line('folder', made.root / 'pictures')
    assert (folder.state, folder.count, folder.wanted) == ('incomplete', 3, 5)


def test_a_run_that_skips_bad_pictures_is_ready_without_them(made):
    made.on_bad_image = 'skip'
    (made.root / 'pictures/0.png').unlink()
    report = made.examine()
    assert report.ready() and not report.ready(strict=True) and kinds(report, 'note') == ['missing_image']


def test_every_picture_is_decoded_only_when_asked(made):
    made.write('train', [row(number, f'pictures/{number}.png') for number in range(20)])
    for number in range(20):
        made.picture(f'pictures/{number}.png', (number, 0, 0))
    whole = (made.root / 'pictures/7.png').read_bytes()
    (made.root / 'pictures/7.png').write_bytes(whole[:len(whole) // 2])
    assert made.examine(verify='none').ready()
    assert made.examine(sample_size=3).checked['pictures decoded'] == 3
    assert kinds(made.examine(verify='all')) == ['bad_image']


def test_rows_that_a_run_would_refuse_are_all_told_at_once(made):
    made.write('train', [row(0), row(0), {'id': 'x'}, row(3, answer=''), row(4, image='../out.png')])
    (made.root / 'test.json').write_text('[{"question_id": "q0", "text": "Wh')
    report = made.examine()
    told = '\n'.join(map(str, report.findings))
    assert kinds(report).count('wrong_row') == 3 and "'r0' (records 0 and 1)" in told
    assert "record 3 (id 'r3'): has an empty answer." in told and 'leads out of the image root' in told
    assert report.line('file', made.root / 'test.json').state == 'incomplete' and 'it is cut short' in told
    assert report.line('file', made.root / 'train.json').state == 'wrong'
    assert 'preflight' not in kinds(report)  # what is told once is not told again in other words


def test_more_wrong_rows_than_one_wants_to_read_are_counted(made):
    made.write('train', [{'id': number} for number in range(30)])
    told = [str(finding) for finding in made.examine().findings if finding.kind == 'wrong_row']
    assert len(told) == 4 and '27 more records are wrong' in told[-1]


def test_counts_against_published_ones(made):
    made.published = Published(train=3, test=1)
    report = made.examine()
    states = {line.place.rpartition('/')[2]: line.state for line in report.lines if line.kind == 'file'}
    assert states == {'train.json': 'fewer rows', 'test.json': 'more rows'} and report.ready()
    assert 'holds 2 rows; 3 are published' in str(report.findings[0]) and not report.ready(strict=True)
    made.published = Published(train=2)
    assert made.examine().ready(strict=True)


def test_overlap_by_picture_question_and_both(made):
    made.write('test', [question(0, 'pictures/0.png'), question(1, text='What?'), question(2, 'pictures/0.png', 'What?')])
    report = made.examine()
    overlap, = report.overlaps
    assert (overlap.images, overlap.test_images, overlap.questions, overlap.rows, overlap.test_rows) == (1, 2, 2, 1, 3)
    assert kinds(report, 'note') == ['overlap_images', 'overlap_rows'] and report.ready()


def test_doubtful_rows_are_counted(made):
    made.write('test', [question(0, answer='[0.5,0.5,0.1,2]'), question(1, answer='[3,3,4,4]')])
    note, = made.examine().findings
    assert (note.kind, note.count, note.level) == ('note_on_rows', 2, 'note') and 'a box that is not' in str(note)


def test_equal_pictures_under_other_names(made):
    made.picture('pictures/2.png', 'red')
    made.picture('pictures/3.png', 'red')
    made.write('train', [row(0), row(1, 'pictures/2.png')])
    made.write('test', [question(0, 'pictures/3.png')])
    assert made.examine().ready(strict=True)
    told = {finding.kind: finding.where for finding in made.examine(duplicates=True).findings}
    assert told == {'same_images': f'{made.root}/train.json', 'overlap_content': 'Made'}


def test_what_only_preflight_sees_is_told(made):
    made.image_sources = {}
    report = made.examine()
    assert report.ready()
    sets = sets_of(Benchmark(name='made', tasks=(TaskSection(
        name='Made', train={'type': 'InstructionJson', 'path': 'train.json'},
        test={'type': 'InstructionJson', 'path': 'test.json', 'needs': ['gold_index']}, metric={'type': 'gqa'}),)),
        Data(root=str(made.root)))
    report = Examination('made', str(made.root), sets, Options(workers=1), no_bar).run()
    assert kinds(report) == ['preflight'] and 'gold_index' in str(report.findings[0])


def test_a_broken_link_among_the_folders(made):
    (made.root / 'pictures').rename(made.root / 'moved')
    (made.root / 'pictures').symlink_to(made.root / 'nowhere')
    assert 'missing_folder' in kinds(made.examine())
    (made.root / 'pictures').unlink()
    (made.root / 'pictures').symlink_to(made.root / 'moved')
    assert made.examine().ready()


class Drawn:
    """A third party's dataset, which tells no files."""

    fingerprint = 'x'

    def __init__(self, split='train', root='', broken=False, same=False):
        self.split, self.same = split, same

    @classmethod
    def preflight(cls, *, broken=False, **given):
        from coinkit.errors import Problem
        return [Problem('Drawn', 'is broken.')] if broken else []

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return Sample('s' if self.same else f'{self.split}{index}', 't', (), (Turn('human', 'q'), Turn('gpt', 'a')))


def drawn(**train):
    task = TaskSection(name='D', train={'type': 'Drawn', **train}, test={'type': 'Drawn'}, metric={'type': 'gqa'})
    sets = sets_of(Benchmark(name='d', tasks=(task,)), Data(root='x'))
    return Examination('d', 'x', sets, Options(workers=1), no_bar).run()


def test_other_datasets_are_asked_for_their_preflight_and_samples():
    DATASETS.add('Drawn', Drawn, provider='third')
    try:
        report = drawn()
        assert report.ready() and report.checked == {'samples': 6, 'pictures decoded': 6}
        assert [line.place for line in report.lines] == ['Drawn (D train)', 'Drawn (D test)']
        assert report.overlaps[0].rows == 3
        assert kinds(drawn(broken=True)) == ['preflight']
        assert kinds(drawn(same=True)) == ['duplicate_ids']
    finally:
        DATASETS.drop('third')


def test_the_report_as_json(made):
    made.write('test', [question(0, 'pictures/9.png')])
    blob = json.loads(json.dumps(made.examine().to_json()))
    assert blob['schema'] == 'coinkit.data/1' and not blob['ready'] and blob['benchmark'] == 'made'
    finding = next(each for each in blob['findings'] if each['kind'] == 'missing_image')
    assert finding['count'] == 1 and finding['examples'] == ["'pictures/9.png' (record 0)"]
    assert {place['state'] for place in blob['places']} == {'present', 'incomplete'}
