"""The ledger survives a kill in the middle of a line, and tells damage from it."""

import pytest

from coinkit.engine.ledger import Ledger
from coinkit.errors import RunError


def test_what_is_appended_is_read_back(tmp_path):
    ledger = Ledger(tmp_path / 'ledger.jsonl')
    ledger.append('stage_done', stage='01-a')
    ledger.append('stage_done', stage='02-b')
    again = Ledger(tmp_path / 'ledger.jsonl')
    assert [record['stage'] for record in again.all('stage_done')] == ['01-a', '02-b']
    assert again.last('stage_done')['stage'] == '02-b'
    assert again.last('stage_done', stage='01-a')['stage'] == '01-a'
    assert again.last('cell_scored') is None


@pytest.mark.parametrize('torn', [b'{"event": "sta', b'{"event": "stage_done", "stage": "03"}', b'\xff'])
def test_a_torn_last_line_is_cut_off(tmp_path, torn):
    path = tmp_path / 'ledger.jsonl'
    Ledger(path).append('stage_done', stage='01-a')
    with open(path, 'ab') as file:
        file.write(torn)
    ledger = Ledger(path)
    assert len(ledger.events) == 1
    ledger.append('stage_done', stage='02-b')
    assert [record['stage'] for record in Ledger(path).events] == ['01-a', '02-b']


def test_a_damaged_line_is_an_error_that_names_it(tmp_path):
    path = tmp_path / 'ledger.jsonl'
    path.write_text('{"event": "a"}\nnonsense\n{"event": "b"}\n')
    with pytest.raises(RunError, match='line 2'):
        Ledger(path)


def test_a_reader_never_writes(tmp_path):
    path = tmp_path / 'ledger.jsonl'
    path.write_bytes(b'{"event": "a"}\n{"ev')
    reader = Ledger(path, writable=False)
    reader.append('b')
    assert len(reader.events) == 2
    assert path.read_bytes() == b'{"event": "a"}\n{"ev'
