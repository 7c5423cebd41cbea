"""Train a stream of tasks: the same as `coinkit train`, and it works without installation."""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec('coinkit') is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from coinkit.cli.main import leave, main  # noqa: E402

if __name__ == '__main__':
    leave(main(['train', *sys.argv[1:]], prog='tools/train.py'))
