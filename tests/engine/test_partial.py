"""Answers of an interrupted cell."""

from coinkit.engine.partial import PartialAnswers


def test_finished_batches_are_read_back_whatever_rank_wrote_them(tmp_path):
    path = tmp_path / 'predictions' / 'a.jsonl'
    cell = PartialAnswers(path, 'sig')
    with cell.writer(0) as write:
        write([(0, 'ä'), (3, 'b')], {3: 'text_only'})
    with cell.writer(1) as write:
        write([(1, 'c')], {})
    assert cell.read() == {0: 'ä', 3: 'b', 1: 'c'} and cell.bad_images() == {3: 'text_only'}
    cell.remove(only_on=False)
    assert cell.read()
    cell.remove(only_on=True)
    assert cell.read() == {} and not list(path.parent.iterdir())


def test_another_signature_is_not_read(tmp_path):
    with PartialAnswers(tmp_path / 'a.jsonl', 'old').writer(0) as write:
        write([(0, 'stale')], {})
    assert PartialAnswers(tmp_path / 'a.jsonl', 'new').read() == {}


def test_a_torn_line_is_dropped_and_writing_goes_on(tmp_path):
    cell = PartialAnswers(tmp_path / 'a.jsonl', 's')
    with cell.writer(0) as write:
        write([(0, 'x')], {})
    file = next(tmp_path.glob('.a.jsonl.part-0'))
    file.write_bytes(file.read_bytes() + b'{"signature": "s", "answ')
    assert cell.read() == {0: 'x'}
    with cell.writer(0) as write:
        write([(1, 'y')], {})
    assert cell.read() == {0: 'x', 1: 'y'}
