"""The adapter bank: all low-rank blocks of a model, by name, on every wrapped linear at once.

A continual method is mostly a choice of when blocks are added, frozen, merged or dropped, and how they are gated. The
bank does that bookkeeping; the arithmetic is `bank_linear`. Only active blocks are on the device, so a one-hot choice
between many stored blocks is a swap (`set_active`), not a multiply over all of them. Random starts are drawn on the
CPU, module after module in the order of `targets`: one generator gives the same bank on every device and rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from coinkit.errors import ConfigError, RunError, unknown
from coinkit.nn.bank_checks import check_block, check_mergeable, check_options, find_linears, split_rank
from coinkit.nn.bank_linear import BankLinear, Mode
from coinkit.nn.bank_stack import Block
from coinkit.nn.bank_state import bank_card, check_card, load_bank_state, read_bank_state

__all__ = ['AdapterBank', 'BlockInfo', 'split_rank']

Values = tuple[Tensor, Tensor, Tensor | None]  # A, B and router row of one block on one linear


@dataclass(frozen=True)
class BlockInfo:
    """What a block is, the same on every wrapped linear."""

    rank: int
    scale: float
    trainable: bool
    active: bool
    init: str = 'kaiming'


class AdapterBank:
    """Wraps the linears named in `targets`, in place; their weights are then called `<module>.base.*`."""

    def __init__(self, model: nn.Module, targets: Sequence[str], *, gate: Literal['none', 'softmax'] = 'none',
                 dropout: float = 0.0, dropout_mode: Literal['shared', 'per_expert'] = 'shared',
                 dtype: torch.dtype = torch.float32):
        check_options(gate, dropout, dropout_mode)
        self.model, self.gate, self.dropout, self.dropout_mode, self.dtype = model, gate, dropout, dropout_mode, dtype
        self.merged: list[str] = []  # blocks that are part of the base weights now
        self._mode = Mode()
        self._info: dict[str, BlockInfo] = {}
        found = find_linears(model, targets)
        for base in found.values():
            base.requires_grad_(False)
        self.layers = {name: self._wrap(name, base) for name, base in found.items()}

    def _wrap(self, name: str, base: nn.Module) -> BankLinear:
        layer = BankLinear(base, mode=self._mode, routed=self.gate == 'softmax', dropout=self.dropout,
                           per_expert=self.dropout_mode == 'per_expert', dtype=self.dtype)
        self.model.set_submodule(name, layer)
        return layer

    # ---- blocks

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(self.layers)

    @property
    def blocks(self) -> dict[str, BlockInfo]:
        return dict(self._info)

    @property
    def active(self) -> tuple[str, ...]:
        """Active blocks in the order in which `sample_gate` takes their weights."""
        return tuple(name for name, info in self._info.items() if info.active)

    @property
    def live(self) -> tuple[str, ...]:
        """Active blocks that train: those whose values the parameters hold."""
        return tuple(name for name, info in self._info.items() if info.active and info.trainable)

    def add(self, block: str | Sequence[str], *, rank: int, scale: float,
            init: Literal['kaiming', 'normal'] = 'kaiming', trainable: bool = True, active: bool = True,
            generator: torch.Generator | None = None) -> None:
        """Add a block, or several alike (cheaper than one by one). B is zero: the output stays what it was."""
        names = [block] if isinstance(block, str) else list(block)
        check_block(names, self._info, rank=rank, init=init)
        for layer in self.layers.values():
            with layer.edit() as blocks:
                for name in names:
                    A_rD, B_Or, router_D = self._fresh(layer, rank, init, generator)
                    blocks[name] = Block(rank, float(scale), trainable, active, A_rD, B_Or, router_D)
        self._info.update({name: BlockInfo(rank, float(scale), trainable, active, init) for name in names})

    def freeze(self, block: str) -> None:
        """Keep the block's effect but train it no longer."""
        self._change(block, trainable=False)

    def unfreeze(self, block: str) -> None:
        self._change(block, trainable=True)

    def set_active(self, blocks: Sequence[str]) -> None:
        """Exactly these blocks take part; the others wait on the CPU. Parameters are new objects after a change."""
        wanted = {self._known(name) for name in blocks}
        if wanted == set(self.active):
            return
        for layer in self.layers.values():
            with layer.edit() as own:
                for name, block in own.items():
                    block.active = name in wanted
        self._info = {name: replace(info, active=name in wanted) for name, info in self._info.items()}

    def drop(self, block: str) -> None:
        """Forget the block."""
        self._known(block)
        for layer in self.layers.values():
            with layer.edit() as own:
                del own[block]
        del self._info[block]

    def reinit(self, block: str, generator: torch.Generator | None = None) -> None:
        """Give the block a fresh start of its own kind (A random, B zero)."""
        info = self._info[self._known(block)]
        for layer in self.layers.values():
            with layer.edit() as own:
                fresh = self._fresh(layer, info.rank, info.init, generator)
                own[block].A_rD, own[block].B_Or, own[block].router_D = fresh

    def merge(self, block: str) -> None:
        """Add the block to the base weights (summed in fp32, then cast) and drop it."""
        info = self._info[self._known(block)]
        if self.gate != 'none':
            raise RunError(f"block '{block}' cannot be merged: the bank is gated by '{self.gate}', so what it adds "
                           'depends on the input.')
        for name, layer in self.layers.items():
            check_mergeable(name, layer)
        for layer in self.layers.values():
            A_rD, B_Or, _ = layer.read(block)
            weight_OD = layer.base.weight
            wide = torch.promote_types(weight_OD.dtype, self.dtype)
            A_rD, B_Or = A_rD.to(weight_OD.device, wide), B_Or.to(weight_OD.device, wide)
            weight_OD.data.copy_(torch.addmm(weight_OD.data.to(wide), B_Or, A_rD, alpha=info.scale))
        self.drop(block)
        self.merged.append(block)

    def remove(self) -> None:
        """Put the bare linears back; blocks that were not merged are lost."""
        for name, layer in self.layers.items():
            self.model.set_submodule(name, layer.base)
        self.layers, self._info = {}, {}

    # ---- the next forwards

    @contextmanager
    def sample_gate(self, weights_BK: Tensor | None) -> Iterator[None]:
        """Weights of the `active` blocks (columns, in that order) per row of the batch; keep it open over backward."""
        if weights_BK is not None:
            self._check_weights(weights_BK)
            order = next(iter(self.layers.values())).order
            columns = [self.active.index(name) for name in order]
            weights_BK = weights_BK if columns == sorted(columns) else weights_BK[:, columns]
        before, self._mode.gate_BE = self._mode.gate_BE, weights_BK
        try:
            yield
        finally:
            self._mode.gate_BE = before

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The plain base model; keep it open over backward."""
        before, self._mode.enabled = self._mode.enabled, False
        try:
            yield
        finally:
            self._mode.enabled = before

    @contextmanager
    def fixed(self) -> Iterator[None]:
        """The values do not change inside: forwards without gradient cast and join them once (generation)."""
        before, self._mode.fixed = self._mode.fixed, True
        try:
            yield
        finally:
            self._mode.fixed = before
            for layer in self.layers.values():
                layer.forget_factors()

    # ---- values

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """By name as in `model.named_parameters()`."""
        return {f'{module}.{name}': parameter for module, layer in self.layers.items()
                for name, parameter in layer.named_parameters(recurse=False) if parameter.requires_grad}

    def num_parameters(self, *, trainable: bool | None = None, active: bool | None = None) -> int:
        """Numbers held by the blocks chosen (None = all), router rows included."""
        chosen = [info for info in self._info.values()
                  if trainable in (None, info.trainable) and active in (None, info.active)]
        width = sum(layer.in_features for layer in self.layers.values())
        both = width + sum(layer.out_features for layer in self.layers.values())
        return sum(info.rank for info in chosen) * both + (len(chosen) * width if self.gate == 'softmax' else 0)

    def state_dict(self, blocks: Sequence[str] | None = None, *,
                   values: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """CPU tensors `<module>.<block>.A` and `.B`, and `<module>.router` with a row per block.

        Tensors of frozen or inactive blocks are the bank's own: do not write to them. Under ZeRO-3 the parameters are
        partitioned: pass `strategy.full_params(list(bank.trainable_parameters()))` as `values`.
        """
        names = list(self._info) if blocks is None else [self._known(name) for name in blocks]
        return read_bank_state(self.layers, names, values)

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True) -> None:
        """Take values for blocks that exist; `strict` wants exactly the bank's keys. Parameters keep their identity."""
        load_bank_state(self.layers, list(self._info), state, strict=strict)

    def card(self) -> dict[str, Any]:
        """JSON-able description from which `from_card` and `restore` rebuild the bank."""
        return bank_card(self)

    @classmethod
    def from_card(cls, model: nn.Module, card: Mapping[str, Any], *, dtype: torch.dtype = torch.float32) -> AdapterBank:
        """A bank as described, with fresh blocks; load the values afterwards."""
        bank = cls(model, card['targets'], gate=card['gate'], dropout=card['dropout'],
                   dropout_mode=card['dropout_mode'], dtype=dtype)
        check_card(bank, card)
        bank._match_blocks(card['blocks'])
        return bank

    def restore(self, card: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
        """Make this bank the one that was saved: its blocks, their flags and their values."""
        check_card(self, card)
        self._match_blocks(card['blocks'])
        self.load_state_dict(state)

    # ---- inner

    def _match_blocks(self, wanted: Sequence[Mapping[str, Any]]) -> None:
        fields = BlockInfo.__dataclass_fields__
        infos = {entry['name']: BlockInfo(**{key: entry[key] for key in fields}) for entry in wanted}
        if list(infos.items()) == list(self._info.items()):
            return
        for layer in self.layers.values():
            with layer.edit() as own:
                kept = dict(own)
                own.clear()
                for name, info in infos.items():
                    block = kept.get(name)
                    if block is None or block.rank != info.rank:
                        block = Block(info.rank, 0.0, False, False, *self._empty(layer, info.rank))
                    block.scale, block.trainable, block.active = info.scale, info.trainable, info.active
                    own[name] = block
        self._info = infos

    def _fresh(self, layer: BankLinear, rank: int, init: str, generator: torch.Generator | None) -> Values:
        A_rD, B_Or, router_D = self._empty(layer, rank)
        if init == 'kaiming':
            nn.init.kaiming_uniform_(A_rD, a=math.sqrt(5), generator=generator)
        else:  # CoIN's experts
            nn.init.normal_(A_rD, 0.0, 0.01, generator=generator)
        if router_D is not None:
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(router_D, -bound, bound, generator=generator)
        return A_rD, B_Or, router_D

    def _empty(self, layer: BankLinear, rank: int) -> Values:
        router_D = torch.zeros(layer.in_features, dtype=self.dtype) if self.gate == 'softmax' else None
        A_rD = torch.zeros(rank, layer.in_features, dtype=self.dtype)
        return A_rD, torch.zeros(layer.out_features, rank, dtype=self.dtype), router_D

    def _change(self, name: str, *, trainable: bool) -> None:
        info = self._info[self._known(name)]
        if info.trainable == trainable:
            return
        for layer in self.layers.values():
            with layer.edit() as own:
                own[name].trainable = trainable
        self._info[name] = replace(info, trainable=trainable)

    def _known(self, name: str) -> str:
        if name not in self._info:
            raise ConfigError(unknown('adapter bank', 'block', name, self._info))
        return name

    def _check_weights(self, weights_BK: Tensor) -> None:
        if self.gate != 'none':
            raise RunError(f"sample_gate needs a bank with gate='none'; this one is gated by '{self.gate}'.")
        if weights_BK.dim() != 2 or weights_BK.shape[1] != len(self.active):
            raise RunError(f'sample_gate wants weights of shape (batch, {len(self.active)}) for the active blocks '
                           f'{list(self.active)}, got {tuple(weights_BK.shape)}.')
