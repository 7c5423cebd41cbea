"""What a frozen module gave in the forward just made, given again without running it.

Two forwards over one batch that differ only in trained values share the frozen picture tower: its outputs of the first are
kept, in the order of its calls, and repeated in the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


class Recall:
    """Watches a module while the model is in training mode; `remove` it when the phase ends."""

    def __init__(self, module: nn.Module):
        assert not any(parameter.requires_grad for parameter in module.parameters()), 'only a frozen module gives the same'
        self.module, self.outputs = module, []
        self._handle = module.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, args: Any, output: Any) -> None:
        if module.training:
            self.outputs.append(output)

    @contextmanager
    def repeated(self) -> Iterator[None]:
        """Inside, calls give what the same calls gave since the last time; a module that was not called runs as ever."""
        left, self.outputs = self.outputs, []
        if not left:
            yield
            return
        own = vars(self.module).get('forward')  # some libraries put one on the object
        self.module.forward = lambda *args, **kwargs: left.pop(0)
        try:
            yield
        finally:
            del self.module.forward
            if own is not None:
                self.module.forward = own

    def remove(self) -> None:
        self._handle.remove()
        self.outputs = []
