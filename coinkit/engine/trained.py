"""What trains in each phase of a task: everything that trained after `coinkit_begin_task`, or the part a phase names.

A name is a block of the bank, 'adapter' (its active blocks), 'projector', or a module's name (all below it). Frozen
blocks that are active stay so in every phase: they are part of the model. Every phase starts from the same set, so that
phase 2 trains the same whether phase 1 ran in this process or before a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coinkit.errors import RunError, nearest

if TYPE_CHECKING:
    from coinkit.engine.state import RunState

ADAPTER, PROJECTOR = 'adapter', 'projector'
BANK_PARAMETERS = ('bank_A', 'bank_B', 'router')


class Trained:
    """Remembers what trains when it is made."""

    def __init__(self, state: RunState):
        self.state = state
        self.names = {name for name, p in state.backbone.model.named_parameters() if p.requires_grad}
        self.active = state.bank.active if state.bank is not None else ()

    def restore(self) -> None:
        """Train everything again."""
        bank = self.state.bank
        if bank is not None:
            bank.set_active([name for name in self.active if name in bank.blocks])
        for name, parameter in self.state.backbone.model.named_parameters():
            parameter.requires_grad_(name in self.names)

    def choose(self, names: tuple[str, ...]) -> None:
        """Train what `names` say; everything when they are empty."""
        self.restore()
        if names:
            blocks, modules = self._blocks(names), self._modules(names)
            if blocks:
                self.state.bank.set_active([*blocks, *self._frozen()])
            self._narrow(bool(blocks), modules)

    def _blocks(self, names: tuple[str, ...]) -> list[str]:
        known = self.state.bank.blocks if self.state.bank is not None else {}
        named = {name for name in names if name in known}
        return [*named, *(set(self.active) - named)] if ADAPTER in names else list(named)

    def _frozen(self) -> list[str]:
        known = self.state.bank.blocks
        return [name for name in self.active if name in known and not known[name].trainable]

    def _modules(self, names: tuple[str, ...]) -> list[str]:
        """The modules named, as given by `named_modules`; an unknown name is an error."""
        model, known = dict(self.state.backbone.model.named_modules()), self.state.bank.blocks if self.state.bank else {}
        modules = [self.state.backbone.projector if name == PROJECTOR else name for name in names
                   if name != ADAPTER and name not in known]
        for name in modules:
            if name not in model or not name:
                allowed = [*known, ADAPTER, PROJECTOR, *model]
                raise RunError(f'{self.state.task.name}, phase {self.state.phase.name}: trains {name!r}, which is neither '
                               f'a block of the adapter bank nor a module. {nearest(name, allowed)}'.strip())
        return modules

    def _narrow(self, with_bank: bool, modules: list[str]) -> None:
        bank = self.state.bank
        of_bank = {f'{target}.{name}' for target in bank.targets for name in BANK_PARAMETERS} if bank else set()
        for name, parameter in self.state.backbone.model.named_parameters():
            if name in of_bank:
                parameter.requires_grad_(parameter.requires_grad and with_bank)
            else:
                inside = any(name.startswith(f'{module}.') for module in modules)
                parameter.requires_grad_(inside and name in self.names | self.state.trained)
