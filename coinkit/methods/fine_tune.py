"""FineTune: sequential fine-tuning, theta_t = argmin L(theta; D_t) started at theta_{t-1}; the lower bound.

`mode='lora'` trains one LoRA, y = W x + (alpha / rank) B A dropout(x), on the language model's linears; `mode='full'` the
language model itself. The projector trains in both and is carried from task to task. Every task starts with a new
optimizer and schedule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from coinkit.errors import ConfigError, Problem
from coinkit.methods.beside import unread

if TYPE_CHECKING:
    from coinkit.nn.bank import AdapterBank

BLOCK = 'lora'  # name of the one block in the bank


class FineTune:
    """Tune one LoRA (or the whole language model) on task after task."""

    needs_task_id = False
    storage = 'nothing'
    step_budget = 1.0
    blocks_change = 'never'  # sub-classes: 'task' where every task trains a block of its own, 'phase' where phases differ

    def __init__(self, *, mode: Literal['lora', 'full'] = 'lora', rank: int = 128, alpha: float = 256.0,
                 dropout: float = 0.05, targets: str | list[str] | None = None, train_projector: bool = True,
                 train_vision: bool = False):
        self.mode, self.rank, self.alpha, self.dropout, self.targets = mode, rank, alpha, dropout, targets
        self.train_projector, self.train_vision = train_projector, train_vision

    @classmethod
    def preflight(cls, *, mode: str = 'lora', rank: int = 128, dropout: float = 0.05, train_vision: bool = False,
                  **_: Any) -> list[Problem]:
        """Values no run can use."""
        problems = []
        if mode not in ('lora', 'full'):
            problems.append(Problem('methods: mode', f"'{mode}' given, 'lora' or 'full' allowed."))
        if rank < 1:
            problems.append(Problem('methods: rank', f'{rank} given, at least 1 allowed.'))
        if not 0 <= dropout < 1:
            problems.append(Problem('methods: dropout', f'{dropout} given, 0 <= dropout < 1 allowed.'))
        if train_vision and mode == 'lora':
            problems.append(Problem('methods: train_vision', "True given with mode='lora', which trains no vision tower.",
                                    "Set mode='full', or name the tower's linears in targets."))
        return problems

    @classmethod
    def preflight_run(cls, config: Any, datasets: Any, *, mode: str = 'lora', **given: Any) -> list[Problem]:
        """A whole language model has no rank: what only a LoRA reads is refused, but for what --mini put there."""
        keys = ('dropout', 'targets') if config.mini else ('rank', 'alpha', 'dropout', 'targets')
        return unread('methods', given, keys, "mode='full'") if mode == 'full' else []

    def stored_numbers(self, state: Any) -> int:
        """Numbers that this method keeps beside the adapter."""
        return 0

    def coinkit_prepare_model(self, backbone: Any, config: Any) -> AdapterBank | bool:
        problems = FineTune.preflight(mode=self.mode, rank=self.rank, dropout=self.dropout, train_vision=self.train_vision)
        if problems:
            raise ConfigError(problems)
        if self.train_projector and backbone.projector:
            backbone.model.get_submodule(backbone.projector).requires_grad_(True)
        if self.mode == 'lora':
            return self.insert_bank(backbone, config)
        for name, parameter in backbone.model.named_parameters():
            of_projector = bool(backbone.projector) and name.startswith(f'{backbone.projector}.')
            of_vision = bool(backbone.vision_tower) and name.startswith(f'{backbone.vision_tower}.')
            parameter.requires_grad_(self.train_projector if of_projector else self.train_vision if of_vision else True)
        for module in backbone.unread:
            backbone.model.get_submodule(module).requires_grad_(False)
        return True

    def insert_bank(self, backbone: Any, config: Any) -> AdapterBank:
        """The bank of this method: one ungated block. Sub-classes with other blocks override this."""
        from coinkit.nn.seeding import generator

        bank = backbone.insert_bank(targets=self.targets, dropout=self.dropout)
        bank.add(BLOCK, rank=self.rank, scale=self.alpha / self.rank, generator=generator(config.seed, 'init'))
        return bank

    def coinkit_begin_task(self, state: Any) -> None:
        if state.config.projector_carry == 'upstream' and state.index > 0 and state.backbone.projector:
            self._forget_projector(state)

    def _forget_projector(self, state: Any) -> None:
        """The released code's bug: it saves the projector in a form it cannot load, so each later task starts from
        torch's default initialisation."""
        for module in state.backbone.model.get_submodule(state.backbone.projector).modules():
            if hasattr(module, 'reset_parameters'):
                module.reset_parameters()  # drawn from the task's seed
