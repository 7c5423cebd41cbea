"""Start a new run from what an old one learnt: `init_from='RUN'`, `'RUN:stage'` or an adapter folder of other software.

Such a folder is a PEFT LoRA, or CoIN's MoELoRA; its `peft_type` says which, and so who reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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
        return _folder_problems(path)
    what = 'holds neither a coinkit run (ledger.jsonl) nor a PEFT adapter (adapter_config.json)'
    return [Problem(WHERE, f"'{source}' {what if path.exists() else 'does not exist'}.",
                    "Give 'RUN', 'RUN:stage' or a PEFT folder (LoRA, or CoIN's MoELoRA).")]


def _folder_problems(path: Path) -> list[Problem]:
    """What can be told of an adapter folder without a model."""
    from coinkit.backbones.adapter_files import adapter_type

    try:
        adapter_type(path)
    except CoinkitError as error:
        return [Problem(WHERE, str(error))]
    return []


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
    from coinkit.backbones.adapter_files import COIN, adapter_type

    trained = _load_coin(state, path) if adapter_type(path) == COIN else _load_peft(state, path)
    # they are part of theta_0, whether the method trains them or not: the stage that keeps it must hold them
    state.trained |= trained & {name for name, _ in state.backbone.model.named_parameters()}


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
        if state.bank.gate == 'softmax':
            cure = f'Set num_experts={len(old)}, or start from a run with as many experts as this method has'
        if state.bank.gate == 'none' and len(new) == 1:
            cure += ', or from the sum of its blocks: coinkit export RUN --to peft --out FOLDER, init_from=FOLDER'
        return [Problem(str(folder), f"it holds the blocks {_quoted(old)}, and this run's method trains {_quoted(new)}.",
                        f'{cure}.')]
    return [Problem(str(folder), f"its block '{name}' has rank {old[name][0]} and scale {old[name][1]:g}, this config asks "
                    f'for {rank} and {scale:g}.', "Give the method the old run's rank and alpha.")
            for name, (rank, scale) in new.items() if old[name] != (rank, scale)]


def _quoted(names: Iterable[str]) -> str:
    return ', '.join(f"'{name}'" for name in names)


def _load_peft(state: RunState, path: Path) -> set[str]:
    """The folder's LoRA takes the place of the method's one block, with its own rank and scale."""
    from coinkit.backbones.peft_io import add_peft_block, read_peft
    from coinkit.backbones.published_names import own_names

    if state.bank is None or state.bank.gate != 'none' or len(state.bank.blocks) != 1:
        raise ConfigError(Problem(WHERE, f"'{path}' is one LoRA and this run's method has {_kind_of_bank(state)}.",
                                  'A PEFT folder can start a method with one ungated block, such as FineTune.'))
    lora = read_peft(path, rename=own_names(state.backbone))
    (block,) = state.bank.blocks
    state.bank.drop(block)
    with _told_of(path):
        add_peft_block(state.bank, lora, block=block)
    state.reporter.say(f'starting from the PEFT adapter {path}')
    return set(lora.trained)


def _load_coin(state: RunState, path: Path) -> set[str]:
    """The folder's experts and router become the method's, which must have as many of the same rank and scale."""
    from coinkit.backbones.coin_io import load_coin, read_coin
    from coinkit.backbones.published_names import own_names

    adapter = read_coin(path, rename=own_names(state.backbone))
    if state.bank is None or state.bank.gate != 'softmax':
        raise ConfigError(Problem(WHERE, f"'{path}' is a CoIN MoELoRA adapter of {adapter.num_experts} routed experts and "
                                  f"this run's method has {_kind_of_bank(state)}.", f'Use methods=[{adapter.method}].'))
    with _told_of():
        load_coin(state.bank, adapter)
    beside = f'{len(adapter.trained)} tensors' if adapter.trained else 'nothing'
    state.reporter.say(f'starting from the CoIN MoELoRA adapter {path}, with {beside} beside the experts')
    return set(adapter.trained)


def _kind_of_bank(state: RunState) -> str:
    if state.bank is None:
        return 'no LoRA bank'
    count = len(state.bank.blocks)
    return f'{count} block{"s" * (count != 1)} under gate {state.bank.gate!r}'


@contextmanager
def _told_of(path: Path | None = None) -> Iterator[None]:
    """Problems name the config key, and the folder where they do not name it themselves."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError([Problem(f'{WHERE}: {path or problem.where}', problem.message, problem.cure)
                           for problem in error.problems]) from error
