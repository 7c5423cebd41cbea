"""`coinkit export RUN_DIR --stage N --to peft|merged|coin --out D`: take what a stage learnt to other software.

`peft` writes a stock PEFT LoRA folder (the projector inside it, as modules_to_save); `merged` a whole hub-format model;
`coin` the adapter files of CoIN's released MoELoRA code (the projector beside the experts). The method is not needed: the
stage's card says which blocks and which other tensors there are, and which of the three forms can hold them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coinkit.cli.options import add_plugin_arguments, plugins_of
from coinkit.errors import ConfigError, Problem, RunError

if TYPE_CHECKING:
    from coinkit.backbones.base import Backbone
    from coinkit.nn.bank import AdapterBank

LOAD_PEFT = '''Load it with:
  from peft import PeftModel
  from transformers import AutoModelForImageTextToText
  model = AutoModelForImageTextToText.from_pretrained({base!r})
  model = PeftModel.from_pretrained(model, {out!r})
'''
LOAD_MERGED = '''Load it with:
  from transformers import AutoModelForImageTextToText
  model = AutoModelForImageTextToText.from_pretrained({out!r})
or in a config: backbone = dict(type={kind!r}, checkpoint={out!r})
'''


LOAD_COIN = '''Start a run of MoELoRA from it with:
  coinkit train CONFIG --cfg-options init_from={out}
The released code of CoIN loads it for LLaVA when the folder's name has 'llava', 'lora' and 'MOE' in it, and the base model's
config.json (in the original format) is copied into it.
'''


@dataclass(frozen=True)
class Stage:
    """What a stage keeps, and the config of its run."""

    name: str
    folder: Path
    config: Any
    bank: Mapping[str, Any] | None  # the card of its bank
    of_bank: dict[str, Any]
    of_model: dict[str, Any]  # trained beside the bank

    def backbone(self, device: str) -> Backbone:
        from coinkit.registry import BACKBONES

        return BACKBONES.build(dict(replace(self.config, device=device).backbone), device=device)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('run', metavar='RUN_DIR', help='a run directory')
    parser.add_argument('--stage', metavar='N', help='stage to export (default: the last finished one)')
    parser.add_argument('--to', choices=tuple(WRITERS), required=True,
                        help='peft: a LoRA folder for PEFT; merged: the whole model, the LoRA added to its weights; '
                             "coin: routed experts (MoELoRA) as the adapter files of CoIN's released code. "
                             'init_from reads peft and coin')
    parser.add_argument('--out', metavar='D', required=True, help='new folder to write')
    add_plugin_arguments(parser)


def main(args: argparse.Namespace) -> int:
    out = Path(args.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(Problem('--out', f"'{out}' exists and is not an empty folder.", 'Choose a new one.'))
    plugins_of(args)
    stage = _read_stage(Path(args.run), args.stage, args.to)
    written = WRITERS[args.to](stage, out)
    sys.stdout.write(f'Stage {stage.name} of {args.run}:\n')
    for path in sorted(path for path in out.iterdir() if path.is_file()):
        sys.stdout.write(f'  wrote {path} ({path.stat().st_size / 2**20:.1f} MiB)\n')
    sys.stdout.write(written)
    return 0


def _read_stage(path: Path, wanted: str | None, to: str) -> Stage:
    from coinkit.config import load_config
    from coinkit.engine.run_dir import RunDir, choose_stage
    from coinkit.nn.adapter_folder import load_adapter, read_card, split_tensors

    run = RunDir(path)
    name = choose_stage(run, run.read_ledger(), wanted)
    _refuse(read_card(run.adapter(name))['bank'], to)
    tensors, card = load_adapter(run.adapter(name))
    return Stage(name, run.adapter(name), load_config(run.config), card['bank'], *split_tensors(tensors))


def _refuse(bank: Mapping[str, Any] | None, to: str) -> None:
    """A form that cannot hold what the stage learnt; the one that can is named."""
    if to == 'merged' and (bank is None or bank['gate'] == 'none'):
        return
    if bank is None:
        what = 'PEFT folder' if to == 'peft' else 'experts'
        raise RunError(f'this stage has no LoRA (full fine-tuning or zero-shot), so there is no {what} to write. '
                       'Use --to merged.')
    if bank['gate'] != 'none' and to != 'coin':
        cannot = 'is no LoRA that PEFT could load' if to == 'peft' else 'cannot be merged into the weights'
        raise RunError(f"this stage's blocks are gated by '{bank['gate']}': what they add depends on the input, so this "
                       f'{cannot}. Use --to coin, which writes the adapter files of CoIN (init_from reads them).')
    if bank['gate'] == 'none' and to == 'coin':
        raise RunError("CoIN's adapter files hold routed experts (MoELoRA), and this stage's "
                       f"{_listed(bank)} no router. Use --to peft.")


def _listed(bank: Mapping[str, Any]) -> str:
    names = [block['name'] for block in bank['blocks']]
    return f"block '{names[0]}' has" if len(names) == 1 else f'{len(names)} blocks have'


def _with_values(stage: Stage) -> tuple[Backbone, AdapterBank | None]:
    """The backbone with the stage's bank and tensors in it."""
    from coinkit.nn.bank import AdapterBank

    backbone = stage.backbone('cpu')
    bank = AdapterBank.from_card(backbone.model, stage.bank) if stage.bank else None
    if bank is not None:
        bank.load_state_dict(stage.of_bank)
    _set_trained(backbone.model, stage.of_model, stage.folder)
    return backbone, bank


def _set_trained(model: Any, tensors: dict[str, Any], where: Path) -> None:
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if name not in parameters:
            raise RunError(f"{where}: the backbone has no parameter '{name}'. Use the backbone the run was made on.")
        parameters[name].data = tensor.clone()  # as trained (fp32), also over a bfloat16 base


def _write_peft(stage: Stage, out: Path) -> str:
    from coinkit.backbones.peft_io import export_peft

    backbone, bank = _with_values(stage)
    base = _base_of(backbone)
    export_peft(bank, out, trained=sorted(stage.of_model), base_model=base)
    return LOAD_PEFT.format(base=base or 'BASE_MODEL', out=str(out))


def _write_merged(stage: Stage, out: Path) -> str:
    from coinkit.backbones.peft_io import merge_all

    backbone, bank = _with_values(stage)
    if bank is not None:
        merge_all(bank)
    parameters = dict(backbone.model.named_parameters())
    frozen = [p.dtype for name, p in parameters.items() if name not in stage.of_model]
    for name in sorted(stage.of_model) if frozen else ():  # one dtype in the file: the base's
        parameters[name].data = parameters[name].data.to(frozen[0])
    backbone.save(out)
    return LOAD_MERGED.format(kind=type(backbone).__name__, out=str(out))


def _write_coin(stage: Stage, out: Path) -> str:
    from coinkit.backbones.coin_io import export_coin
    from coinkit.backbones.published_names import published_names

    backbone = stage.backbone('meta')  # for its names alone
    export_coin(stage.bank, stage.of_bank, out, trained=stage.of_model, base_model=_checkpoint_of(backbone),
                rename=published_names(backbone))
    return LOAD_COIN.format(out=str(out))


WRITERS = {'peft': _write_peft, 'merged': _write_merged, 'coin': _write_coin}


def _base_of(backbone: Backbone) -> str:
    """The checkpoint as transformers loads it; '' for separate parts."""
    named = getattr(backbone, 'base_model', None)
    return _checkpoint_of(backbone) if named is None else named


def _checkpoint_of(backbone: Backbone) -> str:
    """The checkpoint as the config names it; for the embedded weights ('mini') their folder."""
    checkpoint, folder = getattr(backbone, 'checkpoint', ''), getattr(backbone, 'folder', None)
    return str(folder) if checkpoint == 'mini' and folder is not None else str(checkpoint)
