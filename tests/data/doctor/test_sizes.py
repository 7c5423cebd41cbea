"""Sizes: read from a config, told of what is on disk and of what is announced."""

from __future__ import annotations

import pytest

from coinkit.data.doctor.sizes import about, bytes_of, measured, wrong_size
from coinkit.errors import ConfigError


@pytest.mark.parametrize('text, size', [
    ('', None), ('20.3 GB', 20_300_000_000), ('18 GiB', 18 * 2**30), ('7.71MB', 7_710_000), ('5 kB', 5_000), ('12 B', 12)])
def test_a_size_is_read(text, size):
    assert wrong_size('x', text) == [] and bytes_of(text) == size


@pytest.mark.parametrize('given, why', [
    ('20.3 Gb', r"^x: unknown unit 'Gb'\. Did you mean 'GB'\?"), ('about 3 GB', "given 'about 3 GB', allowed: a number"),
    ('0 GB', 'a number above 0'), ('-1 GB', 'a number above 0'), ('20', 'and a unit'), (20, 'given 20'),
    (None, 'given None')])
def test_what_is_no_size_is_told(given, why):
    [problem] = wrong_size('x', given)
    with pytest.raises(ConfigError, match=why):
        raise ConfigError(problem)


def test_bytes_for_people():
    assert [measured(size) for size in (None, 0, 456, 5_700, 226_140_000, 999_600)] == [
        '', '0 B', '456 B', '5.7 kB', '226.1 MB', '1.0 MB']
    assert [about(size) for size in (None, 12_900_000, 20_300_000_000, 13_000_000_000, 999_900, 18 * 2**30)] == [
        '', 'about 12.9 MB', 'about 20.3 GB', 'about 13 GB', 'about 1 MB', 'about 19.3 GB']
