"""`coinkit VERB ...`: finds the verb's module, imports only that, and turns errors into a message and an exit status.

Exit status: 0 done, 1 failed, 2 wrong usage or config, 130 interrupted (state saved). Errors meant for users are shown
without a traceback; anything else is a bug and keeps its own.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import coinkit
from coinkit.errors import CoinkitError, nearest

VERBS = {  # verb -> (module, help)
    'train': ('train', 'train a stream of tasks and measure every task after each; the same command continues'),
    'test': ('test', 'evaluate saved stages; fills missing cells only'),
    'analyze': ('analyze', 'matrix, forgetting and the other continual metrics of runs; tables, figures, HTML'),
    'score': ('score', 'score a predictions file; needs no GPU and no run'),
    'data': ('data', "a benchmark's data: what is missing, where to get it, what is wrong; download, check, index"),
    'data convert': ('data_convert', 'rows of official annotation files, for tasks whose instruction files one lacks'),
    'judge': ('judge', 'reasoning capability: a judge model rates saved answers; why answers were wrong'),
    'export': ('export', "write a stage's adapter as a PEFT folder, as CoIN's folder, or merged into the base model"),
    'predict': ('predict', 'try a stage by hand on one image and one prompt'),
    'list': ('listing', 'registered components and shipped configs'),
    'plugins': ('plugins', 'plug-ins: who provides what, version and file'),
    'new-plugin': ('new_plugin', 'write the scaffold of a plug-in, with tests that pass'),
    'doctor': ('doctor', 'what is installed, what is missing, and the cure'),
}

DEPENDENCIES = ('PIL', 'jinja2', 'matplotlib', 'mmengine', 'numpy', 'peft', 'pluggy', 'rich', 'safetensors', 'tensorboard',
                'tokenizers', 'torch', 'transformers')  # a checkout run by another Python gets a hint, not a traceback


def program() -> NoReturn:
    """The console script."""
    leave(main())


def leave(status: int) -> NoReturn:
    """End the process. One of several ends at once: all is written, and a native library's thread that wakes while Python
    is taken down would abort it (status -6), which a launcher takes for a failure of the run.
    """
    if os.environ.get('WORLD_SIZE', '1') != '1':
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main(argv: Sequence[str] | None = None, *, prog: str = '') -> int:
    """Run one command; returns the exit status. `prog` is the name a thin door goes by."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ('-h', '--help', 'help'):
        sys.stdout.write(_help())
        return 0 if arguments else 2
    if arguments[0] == '--version':
        sys.stdout.write(f'coinkit {coinkit.__version__}\n')
        return 0
    if ' '.join(arguments[:2]) in VERBS:  # two words: data convert
        arguments[:2] = [' '.join(arguments[:2])]
    if arguments[0] not in VERBS:
        sys.stderr.write(f"coinkit: unknown verb '{arguments[0]}'. {nearest(arguments[0], list(VERBS))}\n"
                         f'Allowed: {", ".join(VERBS)}. See `coinkit --help`.\n')
        return 2
    if prog and ' ' in arguments[0]:
        prog += f' {arguments[0].partition(" ")[2]}'
    return _run(arguments[0], arguments[1:], prog or f'coinkit {arguments[0]}')


def _run(verb: str, arguments: list[str], prog: str) -> int:
    module_name, text = VERBS[verb]
    try:
        module = import_module(f'coinkit.cli.{module_name}')
        parser = argparse.ArgumentParser(prog=prog, description=f'{text[0].upper()}{text[1:]}.', allow_abbrev=False)
        module.add_arguments(parser)
        run = getattr(module, 'main', None) or module.run
        return run(parser.parse_args(arguments))
    except CoinkitError as error:
        sys.stderr.write(f'{prog}: {error}\n')
        return error.exit_code
    except ModuleNotFoundError as error:
        package = (error.name or '').partition('.')[0]
        if package not in DEPENDENCIES:
            raise
        sys.stderr.write(f"{prog}: the package '{package}' is not installed for {sys.executable}.\nRun "
                         '`bash tools/setup_env.sh && . .venv/bin/activate`, or `pip install -c constraints.txt -e .`.\n')
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f'\n{prog}: interrupted.\n')
        return 130
    except BrokenPipeError:  # `coinkit list | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as error:  # argparse: 0 after --help, 2 after wrong usage
        return error.code if isinstance(error.code, int) else 2


def _help() -> str:
    width = max(len(verb) for verb in VERBS)
    verbs = ''.join(f'  {verb:<{width}}  {text}\n' for verb, (_, text) in VERBS.items())
    return (f'usage: coinkit VERB ...\n\ncoinkit {coinkit.__version__}: continual instruction tuning for multimodal '
            f'language models.\n\nverbs:\n{verbs}\n`coinkit VERB --help` tells its options. Start with:\n'
            '  coinkit train mini/finetune          train the mini stream; no weights, data or GPU needed\n'
            '  coinkit analyze work_dirs/finetune   see what was forgotten\n')
