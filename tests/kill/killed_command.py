"""The real command in a process that kills itself at one point of the run, or lists the points that it passes.

    python tests/kill/killed_command.py --at 'checkpoint: before rename: 1' -- train mini/finetune --work-dir W
    python tests/kill/killed_command.py --list points.json -- train mini/finetune --work-dir W
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from coinkit.cli.main import main as coinkit  # noqa: E402
from coinkit.testing.faults import Points, install  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--at', default='0', help='number or name of the point')
    parser.add_argument('--signal', default='SIGKILL', choices=['SIGKILL', 'SIGTERM', 'SIGINT'])
    parser.add_argument('--list', type=Path, help='write the points here')
    parser.add_argument('command', nargs='+', help='the arguments of coinkit')
    args = parser.parse_args()
    number = getattr(signal, args.signal)
    points = Points(int(args.at) if args.at.isdigit() else args.at, lambda: os.kill(os.getpid(), number))
    install(points)
    status = coinkit(args.command)
    if args.list:
        args.list.write_text(json.dumps([asdict(point) for point in points.passed]))
    return status


if __name__ == '__main__':
    sys.exit(main())
