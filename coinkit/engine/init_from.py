"""Start a new run from what an old one learnt: `init_from='RUN'`, `'RUN:stage'` or a PEFT LoRA folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coinkit.config.init_source import split_source
from coinkit.engine import adapters
from coinkit.engine.run_dir import RunDir, choose_stage
from coinkit.engine.state import RunState
from coinkit.errors import CoinkitError, ConfigError, Problem
from coinkit.nn.adapter_folder import read_card

WHERE = 'init_from'


def init_problems(source: str) -> list[Problem]:
    """Whether the source can be read at all, and has the stage."""
    path, stage = split_source(source)
    if (path / 'ledger.jsonl').is_file():
        old = RunDir(path)
        try:
            name = choose_stage(old, old.open_ledger(writable=False), stage)
        except CoinkitError as error:
            return [Problem(WHERE, f"'{source}': {error}")]
        return [] if old.adapter(name).is_dir() else [Problem(WHERE, f"'{source}': stage {name} has no adapter.")]
    if (path / 'adapter_config.json').is_file():
        return []
    what = 'holds neither a coinkit run (ledger.jsonl) nor a PEFT adapter (adapter_config.json)'
    return [Problem(WHERE, f"'{source}' {what if path.exists() else 'does not exist'}.",
                    "Give 'RUN', 'RUN:stage' or a PEFT folder.")]


def source_stage(source: str) -> tuple[Path, str] | None:
    """Run directory and folder name of the stage; None when the source is not (or no longer) a run."""
    path, stage = split_source(source)
    if not (path / 'ledger.jsonl').is_file():
        return None
    old = RunDir(path)
    return path, choose_stage(old, old.open_ledger(writable=False), stage)


def load_init(state: RunState, source: str) -> None:
    """Put the source's adapter into the model as theta_0 of this run."""
    path, _ = split_source(source)
    if found := source_stage(source):
        folder = RunDir(path).adapter(found[1])
        _check_shape(state, source, read_card(folder))
        adapters.load(state, folder)
        state.reporter.say(f'starting from {path}, stage {found[1]}')
        return
    _load_peft(state, path)
    state.reporter.say(f'starting from the PEFT adapter {path}')


def _check_shape(state: RunState, source: str, card: Mapping[str, Any]) -> None:
    """The config states rank and scale of what will train: the old run's blocks must be of that shape."""
    old = {block['name']: (block['rank'], block['scale']) for block in (card['bank'] or {}).get('blocks', ())}
    new = {name: (info.rank, info.scale) for name, info in (state.bank.blocks if state.bank else {}).items()}
    problems = [Problem(WHERE, f"'{source}': its block '{name}' has rank {old[name][0]} and scale {old[name][1]:g}, this "
                        f'config asks for {rank} and {scale:g}.', "Give the method the old run's rank and alpha.")
                for name, (rank, scale) in new.items() if name in old and old[name] != (rank, scale)]
    if problems:
        raise ConfigError(problems)


def _load_peft(state: RunState, path: Path) -> None:
    """The folder's LoRA takes the place of the method's one block, with its own rank and scale."""
    from coinkit.backbones.peft_io import add_peft_block, read_peft

    if state.bank is None or state.bank.gate != 'none' or len(state.bank.blocks) != 1:
        what = 'no LoRA bank' if state.bank is None else f'{len(state.bank.blocks)} blocks under gate {state.bank.gate!r}'
        raise ConfigError(Problem(WHERE, f"'{path}' is one LoRA and this run's method has {what}.",
                                  'A PEFT folder can start a method with one ungated block, such as FineTune.'))
    lora = read_peft(path)
    (block,) = state.bank.blocks
    state.bank.drop(block)
    add_peft_block(state.bank, lora, block=block)
