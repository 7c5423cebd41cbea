"""`coinkit export RUN_DIR --stage N --to peft|merged --out D`: take what a stage learnt to other software.

`peft` writes a stock PEFT LoRA folder (the projector inside it, as modules_to_save); `merged` a whole hub-format model.
The method is not needed: the stage's card says which blocks and which other tensors there are.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('run', metavar='RUN_DIR', help='a run directory')
    parser.add_argument('--stage', metavar='N', help='stage to export (default: the last finished one)')
    parser.add_argument('--to', choices=('peft', 'merged'), required=True,
                        help='peft: an adapter folder for PEFT; merged: the whole model')
    parser.add_argument('--out', metavar='D', required=True, help='new folder to write')
    add_plugin_arguments(parser)


def main(args: argparse.Namespace) -> int:
    out = Path(args.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(Problem('--out', f"'{out}' exists and is not an empty folder.", 'Choose a new one.'))
    plugins_of(args)
    backbone, bank, trained, stage = _load_stage(Path(args.run), args.stage)
    written = (_write_peft if args.to == 'peft' else _write_merged)(backbone, bank, trained, out)
    sys.stdout.write(f'Stage {stage} of {args.run}:\n')
    for path in sorted(path for path in out.iterdir() if path.is_file()):
        sys.stdout.write(f'  wrote {path} ({path.stat().st_size / 2**20:.1f} MiB)\n')
    sys.stdout.write(written)
    return 0


def _load_stage(path: Path, wanted: str | None) -> tuple[Backbone, AdapterBank | None, list[str], str]:
    """The backbone with the stage's bank and tensors in it, and the names of what was trained beside the bank."""
    from coinkit.config import load_config
    from coinkit.engine.run_dir import RunDir, choose_stage
    from coinkit.nn.adapter_folder import load_adapter, split_tensors
    from coinkit.nn.bank import AdapterBank
    from coinkit.registry import BACKBONES

    run = RunDir(path)
    stage = choose_stage(run, run.read_ledger(), wanted)
    tensors, card = load_adapter(run.adapter(stage))
    config = replace(load_config(run.config), device='cpu')
    backbone = BACKBONES.build(dict(config.backbone), device='cpu')
    of_bank, of_model = split_tensors(tensors)
    bank = AdapterBank.from_card(backbone.model, card['bank']) if card['bank'] else None
    if bank is not None:
        bank.load_state_dict(of_bank)
    _set_trained(backbone.model, of_model, run.adapter(stage))
    return backbone, bank, sorted(of_model), stage


def _set_trained(model: Any, tensors: dict[str, Any], where: Path) -> None:
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if name not in parameters:
            raise RunError(f"{where}: the backbone has no parameter '{name}'. Use the backbone the run was made on.")
        parameters[name].data = tensor.clone()  # as trained (fp32), also over a bfloat16 base


def _write_peft(backbone: Backbone, bank: AdapterBank | None, trained: list[str], out: Path) -> str:
    from coinkit.backbones.peft_io import export_peft

    if bank is None:
        raise RunError('this stage has no LoRA (full fine-tuning or zero-shot), so there is no PEFT folder to write. '
                       'Use --to merged.')
    base = _base_of(backbone)
    export_peft(bank, out, trained=trained, base_model=base)
    return LOAD_PEFT.format(base=base or 'BASE_MODEL', out=str(out))


def _write_merged(backbone: Backbone, bank: AdapterBank | None, trained: list[str], out: Path) -> str:
    from coinkit.backbones.peft_io import merge_all

    if bank is not None:
        merge_all(bank)
    parameters = dict(backbone.model.named_parameters())
    frozen = [p.dtype for name, p in parameters.items() if name not in trained]
    for name in trained if frozen else ():  # one dtype in the file: the base's
        parameters[name].data = parameters[name].data.to(frozen[0])
    backbone.save(out)
    return LOAD_MERGED.format(kind=type(backbone).__name__, out=str(out))


def _base_of(backbone: Backbone) -> str:
    """The checkpoint as the config names it; for the embedded weights ('mini') their folder; '' for separate parts."""
    if (named := getattr(backbone, 'base_model', None)) is not None:
        return named
    checkpoint, folder = getattr(backbone, 'checkpoint', ''), getattr(backbone, 'folder', None)
    return str(folder) if checkpoint == 'mini' and folder is not None else str(checkpoint)
