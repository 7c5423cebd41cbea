"""`coinkit predict RUN_DIR --image F --prompt Q`: try a stage by hand."""

from __future__ import annotations

import argparse
from pathlib import Path

from coinkit.cli.options import add_plugin_arguments, plugins_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('run', metavar='RUN_DIR', help='a run directory')
    parser.add_argument('--stage', metavar='N|zero', help='stage that answers (default: the last finished one)')
    parser.add_argument('--image', metavar='F', action='append', default=[], help='a picture (may be repeated)')
    parser.add_argument('--prompt', metavar='Q', required=True, help='the question')
    parser.add_argument('--max-new-tokens', type=int, default=128, metavar='N', help='length of the answer (default: 128)')
    add_plugin_arguments(parser)
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto')


def main(args: argparse.Namespace) -> int:
    from coinkit.engine.predict import predict

    plugins_of(args)
    print(predict(Path(args.run), stage=args.stage, images=args.image, prompt=args.prompt,
                  max_new_tokens=args.max_new_tokens, device=args.device))
    return 0
