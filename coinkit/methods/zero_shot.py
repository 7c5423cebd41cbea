"""ZeroShot: the untouched backbone on every task; row 0 of the matrix, A[0][j] = score(f_theta0, test_j).

Nothing trains and nothing but results is written.
"""

from __future__ import annotations

from typing import Any

from coinkit.types import Phase


class ZeroShot:
    """Evaluate the backbone as it is."""

    evaluates = 'none'  # no stage of the stream; only the zero-shot row
    needs_task_id = False
    storage = 'nothing'
    step_budget = 1.0  # it has no step

    def stored_numbers(self, state: Any) -> int:
        return 0

    def coinkit_prepare_model(self, backbone: Any) -> bool:
        return True

    def coinkit_phases(self, state: Any) -> list[Phase]:
        return []
