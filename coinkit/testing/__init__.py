"""The kit with which coinkit tests its methods, for authors of others: one class, one line.

    from coinkit.testing import MethodBattery

    class TestMine(MethodBattery):
        method = dict(type='Mine', rank=4)

It needs pytest (`pip install 'coinkit[dev]'`). Run it with `pytest -q`.
"""

import pytest

pytest.register_assert_rewrite('coinkit.testing.battery')

from coinkit.testing.battery import MethodBattery  # noqa: E402
from coinkit.testing.small_runs import MiniEngine, differing, digest  # noqa: E402

__all__ = ['MethodBattery', 'MiniEngine', 'differing', 'digest']
