"""EWC as a plug-in of coinkit: this module registers the method by name; `ewc.py` is the method.

Importing it costs nothing: the class is imported only when a run asks for `type='EWC'`.
"""

from __future__ import annotations

from typing import Any


def coinkit_register(registries: Any) -> None:
    """Add the method under the name that configs use."""
    registries.METHODS.add('EWC', 'coinkit_ewc.ewc:EWC')
