"""Opening a data file by its index, at a fifth of the size that is promised: seconds and memory against `json.load`."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest


@pytest.mark.slow
def test_opening_by_index_takes_a_twentieth_of_json():
    bench = runpy.run_path(str(Path(__file__).with_name('bench_index.py')))
    found = bench['measure'](200_000)  # compares every record with json's
    assert found['seconds open/json'] < bench['SHARE'], found
    assert found['memory open/json'] < bench['SHARE'] and found['rss open/json'] < bench['SHARE'], found
    assert found['memory of a reading worker/json'] < bench['SHARE'], found
    assert found[f'{bench["WORKERS"]}_workers_mib'] < found['json_mib'], found
