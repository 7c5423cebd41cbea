"""ZeroShot: the untouched backbone on every task; row 0 of the matrix, A[0][j] = score(f_theta0, test_j).

Nothing trains and nothing but results is written.
"""

from __future__ import annotations

from typing import Any

from coinkit.types import Phase


class ZeroShot:
    """Evaluate the backbone as it is."""

    evaluates = 'none'  # no stage of the stream; only the zero-shot row

    def coinkit_prepare_model(self, backbone: Any) -> bool:
        return True

    def coinkit_phases(self, state: Any) -> list[Phase]:
        return []
