"""The bank on paper: tensors by name and a JSON card. Values round-trip bit for bit.

Keys: `<module>.<block>.A` (rank, inputs), `<module>.<block>.B` (outputs, rank) and, for a routed bank,
`<module>.router` with one row per block in the order of the card. Values are read and written block by block, so that a
saved block does not depend on which other blocks were active beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from coinkit.errors import Problem, RunError, nearest

if TYPE_CHECKING:
    from coinkit.nn.bank import AdapterBank
    from coinkit.nn.bank_linear import BankLinear

SCHEMA = 'coinkit.bank/1'


def bank_card(bank: AdapterBank) -> dict[str, Any]:
    blocks = [{'name': name, 'rank': info.rank, 'scale': info.scale, 'init': info.init, 'trainable': info.trainable,
               'active': info.active} for name, info in bank.blocks.items()]
    return {'schema': SCHEMA, 'gate': bank.gate, 'dropout': bank.dropout, 'dropout_mode': bank.dropout_mode,
            'targets': list(bank.targets), 'blocks': blocks, 'merged': list(bank.merged)}


def check_card(bank: AdapterBank, card: Mapping[str, Any]) -> None:
    """Refuse the card of a bank that this one cannot become."""
    if card.get('schema') != SCHEMA:
        raise RunError(f"the bank's card has schema {card.get('schema')!r} instead of {SCHEMA!r}.")
    if card['gate'] != bank.gate:
        raise RunError(f"the saved bank is gated by '{card['gate']}', this one by '{bank.gate}'.")
    theirs, mine = set(card['targets']), set(bank.targets)
    if theirs != mine:
        odd = sorted(theirs ^ mine)
        more = f' and {len(odd) - 1} more' if len(odd) > 1 else ''
        raise RunError(f'the saved bank adapts {len(theirs)} modules, this one {len(mine)}; they differ in '
                       f"'{odd[0]}'{more}. Use the targets it was made with.")
    if list(card['merged']) != bank.merged:
        raise RunError(f"blocks {card['merged']} were merged into the saved model's base weights, {bank.merged} into "
                       "this one's. An adapter does not hold base weights: start from the merged model.")


def read_bank_state(layers: Mapping[str, BankLinear], names: Sequence[str],
                    values: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for module, layer in layers.items():
        rows = []
        for name in names:
            A_rD, B_Or, router_D = layer.read(name, _own(module, values))
            state[f'{module}.{name}.A'], state[f'{module}.{name}.B'] = A_rD, B_Or
            rows.append(router_D)
        if layer.routed and rows:
            state[f'{module}.router'] = torch.stack(rows)
    return state


def _own(module: str, values: Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
    if values is None:
        return None
    names = ('bank_A', 'bank_B', 'router')
    return {name: values[f'{module}.{name}'] for name in names if f'{module}.{name}' in values}


def load_bank_state(layers: Mapping[str, BankLinear], names: Sequence[str], state: Mapping[str, Tensor], *,
                    strict: bool) -> None:
    expected = _shapes(layers, names)
    problems = _problems(expected, state, strict=strict)
    if problems:
        shown = '\n'.join(f'  - {problem}' for problem in problems[:20])
        more = f'\n  … and {len(problems) - 20} more' if len(problems) > 20 else ''
        raise RunError(f'the adapter state does not fit the bank, {len(problems)} problems:\n{shown}{more}')
    for module, layer in layers.items():
        with layer.edit() as blocks:
            for row, name in enumerate(names):
                block = blocks[name]
                block.A_rD = _taken(state, f'{module}.{name}.A', block.A_rD)
                block.B_Or = _taken(state, f'{module}.{name}.B', block.B_Or)
                if f'{module}.router' in state:
                    block.router_D = state[f'{module}.router'][row].detach().to('cpu', block.A_rD.dtype, copy=True)


def _taken(state: Mapping[str, Tensor], key: str, old: Tensor) -> Tensor:
    """A copy, so that the caller's tensors and the bank never share storage."""
    return state[key].detach().to('cpu', old.dtype, copy=True).contiguous() if key in state else old


def _shapes(layers: Mapping[str, BankLinear], names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for module, layer in layers.items():
        for name in names:
            rank = layer.blocks[name].rank
            shapes[f'{module}.{name}.A'] = (rank, layer.in_features)
            shapes[f'{module}.{name}.B'] = (layer.out_features, rank)
        if layer.routed and names:
            shapes[f'{module}.router'] = (len(names), layer.in_features)
    return shapes


def _problems(expected: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor], *, strict: bool) -> list[Problem]:
    wrong = [Problem(key, f'shape {tuple(state[key].shape)} instead of {shape}.') for key, shape in expected.items()
             if key in state and tuple(state[key].shape) != shape]
    unexpected = [key for key in state if key not in expected]
    if not strict:
        return wrong
    keys = list(expected)
    wrong += [Problem(key, 'not in the bank.', nearest(key, keys) if i < 3 else '') for i, key in enumerate(unexpected)]
    return wrong + [Problem(key, 'missing from the state.') for key in expected if key not in state]
