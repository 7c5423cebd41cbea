#!/usr/bin/env python
"""Pre-train a mini backbone on captions and sentence-form answers of the drawn world.

    python tools/pretrain_mini.py --arch llava --steps 6400 --batch-size 512 --out mini-llava            (one GPU)
    python tools/pretrain_mini.py --arch llava --init shipped --freeze-vision --steps 1000 --out better   (two cores)

Deterministic: the samples of a step are a function of (seed, step). Resumable: the same command continues from the last
checkpoint. Ends with a table of held-out accuracy and leaves a folder that `from_pretrained` loads.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from coinkit.datasets.mini.sentences import DEFAULT_MIX, KINDS  # noqa: E402
from coinkit.errors import CoinkitError, ConfigError, unknown  # noqa: E402
from tools.mini_pretraining.model import ARCHITECTURES, MiniModel  # noqa: E402
from tools.mini_pretraining.samples import HeldOut, Stream  # noqa: E402
from tools.mini_pretraining.training import CHECKPOINT, Trainer  # noqa: E402


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add('--arch', choices=sorted(ARCHITECTURES), default='llava')
    add('--out', type=Path, required=True, help='folder of the result and of the checkpoint')
    add('--init', help="folder to start from, 'shipped' for the weights in the package, 'llava' for mini-LLaVA's under "
                       'other names; from scratch without it')
    add('--freeze-vision', action='store_true', help='train the projector and the language model only')
    add('--steps', type=int, default=6400, help='may be changed when a run is continued; the cosine follows')
    add('--batch-size', type=int, default=512)
    add('--lr', type=float, default=1e-3)
    add('--warmup', type=int, default=100, help='steps of linear warm-up before the cosine')
    add('--seed', type=int, default=0)
    add('--mix', nargs='*', default=[], metavar='KIND=WEIGHT', help=f'sampling weights over {", ".join(KINDS)}')
    add('--answer-first', type=float, default=0.0, metavar='SHARE', help='of the sentences: answer at their start')
    add('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add('--workers', type=int, default=0, help='processes that draw pictures ahead; 0 draws in the training process')
    add('--save-every', type=int, default=200, help='steps between checkpoints')
    add('--stop-after', type=int, help='leave after this many steps of this call, with a checkpoint')
    add('--evaluate', type=int, default=200, help='held-out samples of each kind for the last table')
    return parser.parse_args(argv)


def read_mix(pairs: list[str]) -> dict[str, float]:
    """`['gqa=2']` -> the default mix with gqa at 2; a kind with weight 0 is never drawn."""
    mix, problems = dict(DEFAULT_MIX), []
    for pair in pairs:
        kind, _, weight = pair.partition('=')
        if kind not in mix:
            problems.append(unknown('--mix', 'kind', kind, KINDS))
        try:
            mix[kind] = float(weight)
        except ValueError as error:
            raise ConfigError(f'--mix: {pair!r} given, KIND=WEIGHT with a number wanted.') from error
    if problems:
        raise ConfigError(problems)
    return {kind: weight for kind, weight in mix.items() if weight > 0}


def train(trainer: Trainer, stream: Stream, args: argparse.Namespace, console: Console) -> bool:
    """Train to the end or to `--stop-after`; False when steps are left."""
    columns = (TextColumn('pre-training'), BarColumn(), MofNCompleteColumn(), TextColumn('{task.fields[rate]}'),
               TimeElapsedColumn(), TimeRemainingColumn(elapsed_when_finished=True))
    first = trainer.step
    last = args.steps if args.stop_after is None else min(args.steps, first + args.stop_after)
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task('', total=args.steps, completed=first, rate='')
        for batch in stream.steps(first, last):
            loss = trainer.train_step(batch)
            rate = trainer.samples_per_second(args.batch_size)
            progress.update(bar, completed=trainer.step, rate=f'loss {loss:.3f}  {rate:.0f} samples/s')
            if trainer.step % args.save_every == 0 or trainer.step == last:
                trainer.save(args.out)
                if not console.is_terminal:  # a log file gets lines where a terminal gets the bar
                    console.print(f'step {trainer.step} of {args.steps}  loss {loss:.3f}  {rate:.0f} samples/s')
    return trainer.step >= args.steps


def show_scores(scores: dict[str, float], console: Console) -> None:
    table = Table('kind', 'held-out %', title='Sentence form')
    for kind, score in scores.items():
        table.add_row(kind, f'{score:.1f}')
    table.add_row('mean of the tasks', f"{sum(v for k, v in scores.items() if k != 'caption') / (len(scores) - 1):.1f}")
    console.print(table)


def main(argv: list[str] | None = None) -> int:
    args, console = parse_args(argv), Console(stderr=True)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    try:
        mix = read_mix(args.mix)
        model = MiniModel.start(args.arch, args.init, seed=args.seed, freeze_vision=args.freeze_vision,
                                device=args.device, resuming=(args.out / CHECKPOINT).is_file())
        recipe = {'arch': args.arch, 'init': model.origin, 'freeze_vision': args.freeze_vision, 'steps': args.steps,
                  'batch_size': args.batch_size, 'lr': args.lr, 'warmup': args.warmup, 'seed': args.seed, 'mix': mix,
                  'answer_first': args.answer_first}
        trainer = Trainer(model, recipe)
        if trainer.resume(args.out):
            console.print(f'continuing {args.out} at step {trainer.step} of {args.steps}')
        with Stream(mix, seed=args.seed, batch_size=args.batch_size, workers=args.workers,
                    answer_first=args.answer_first) as stream:
            if not train(trainer, stream, args, console):
                return 0
        scores = HeldOut(args.evaluate).score(model)
        model.save(args.out, {**trainer.recipe, 'samples': args.steps * args.batch_size, 'torch': torch.__version__,
                              'held_out_percent': scores, 'held_out_samples': args.evaluate})
    except CoinkitError as error:
        console.print(f'error: {error}', style='red')
        return error.exit_code
    except KeyboardInterrupt:
        trainer.save(args.out)
        console.print(f'stopped at step {trainer.step}; the same command continues')
        return 130
    show_scores(scores, console)
    console.print(json.dumps(scores))
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
