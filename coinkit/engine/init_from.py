"""Start a new run from what an old one learnt: `init_from='RUN'`, `'RUN:stage'` or a PEFT LoRA folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from coinkit.config.init_source import split_source
from coinkit.engine import adapters
from coinkit.engine.run_dir import RunDir, choose_stage
from coinkit.engine.state import RunState
from coinkit.errors import CoinkitError, ConfigError, Problem, RunError, raise_problems
from coinkit.nn.adapter_folder import read_card
from coinkit.nn.bank_state import check_card

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
    """Put the source's adapter into the model as theta_0 of this run; one that does not fit is refused.

    A plan does the same with its model that has no content, so that it says what the run would say.
    """
    path, _ = split_source(source)
    if found := source_stage(source):
        folder = RunDir(path).adapter(found[1])
        raise_problems(_problems(state, folder, read_card(folder)))
        adapters.load(state, folder)
        state.reporter.say(f'starting from {path}, stage {found[1]}')
        return
    _load_peft(state, path)
    state.reporter.say(f'starting from the PEFT adapter {path}')


def _problems(state: RunState, folder: Path, card: Mapping[str, Any]) -> list[Problem]:
    """Why this run cannot start there: another backbone, else another kind of bank, else other blocks."""
    found = adapters.fit_problems(state, folder, card) or _bank_problems(state, folder, card['bank'])
    return [Problem(f'{WHERE}: {problem.where}', problem.message, problem.cure) for problem in found]


def _bank_problems(state: RunState, folder: Path, bank: Mapping[str, Any] | None) -> list[Problem]:
    """The config states what will train: the old run's blocks must be these, of their rank and scale."""
    if bank is None or state.bank is None:
        return []
    if bank['gate'] != state.bank.gate:
        return [Problem(str(folder), f"its blocks are gated by '{bank['gate']}', those of this run's method by "
                        f"'{state.bank.gate}'.", 'Use the method it was made with.')]
    try:
        check_card(state.bank, bank)
    except RunError as error:
        return [Problem(str(folder), str(error))]
    old = {block['name']: (block['rank'], block['scale']) for block in bank['blocks']}
    new = {name: (info.rank, info.scale) for name, info in state.bank.blocks.items()}
    if old.keys() != new.keys():
        cure = "Start from a run of the same method ('RUN:stage' chooses a stage)"
        if state.bank.gate == 'none' and len(new) == 1:
            cure += ', or from the sum of its blocks: coinkit export RUN --to peft --out FOLDER, init_from=FOLDER'
        return [Problem(str(folder), f"it holds the blocks {_quoted(old)}, and this run's method trains {_quoted(new)}.",
                        f'{cure}.')]
    return [Problem(str(folder), f"its block '{name}' has rank {old[name][0]} and scale {old[name][1]:g}, this config asks "
                    f'for {rank} and {scale:g}.', "Give the method the old run's rank and alpha.")
            for name, (rank, scale) in new.items() if old[name] != (rank, scale)]


def _quoted(names: Iterable[str]) -> str:
    return ', '.join(f"'{name}'" for name in names)


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
    try:
        add_peft_block(state.bank, lora, block=block)
    except ConfigError as error:
        raise ConfigError([Problem(f'{WHERE}: {path}', problem.message, problem.cure) for problem in error.problems]
                          ) from error
