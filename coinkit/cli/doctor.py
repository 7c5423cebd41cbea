"""`coinkit doctor`: what is installed, what a run could use here, what is missing and the cure.

It is the one command that imports torch to look at devices; status 1 when something that every run needs is missing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

from rich.table import Table

import coinkit
from coinkit.cli.screen import show
from coinkit.config import shipped_names

REQUIRED = ('torch', 'transformers', 'peft', 'accelerate', 'mmengine-lite', 'pluggy', 'pillow', 'pycocotools', 'numpy',
            'safetensors', 'tokenizers', 'sentencepiece', 'protobuf', 'rich', 'matplotlib', 'tensorboard',
            'scikit-learn', 'scipy', 'jinja2')
EXTRAS = {'deepspeed': ('deepspeed', 'ZeRO-1/2/3'), 'flash-attn': ('flash', 'faster attention; SDPA otherwise'),
          'pycocoevalcap': ('caption', 'caption scores; needs Java'), 'bitsandbytes': ('quant', 'quantised backbones'),
          'vllm': ('vllm', 'LLM judges'), 'pytest': ('dev', 'the test suite')}


@dataclass(frozen=True)
class Finding:
    """One line of the report. `needed` findings that are not `good` make the command fail."""

    what: str
    found: str
    good: bool = True
    needed: bool = False
    cure: str = ''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes no options."""


def main(args: argparse.Namespace) -> int:
    findings = [*_programs(), *_packages(), *_devices()]
    table = Table('what', 'found', 'cure')
    for each in findings:
        mark = '' if each.good else 'MISSING ' if each.needed else 'not here: '
        table.add_row(each.what, f'{mark}{each.found}'.rstrip(': '), each.cure)
    show(table)
    missing = [each.what for each in findings if each.needed and not each.good]
    sys.stdout.write(f'Missing: {", ".join(missing)}.\n' if missing else 'Everything that a run needs is here.\n')
    return 1 if missing else 0


def _programs() -> Iterator[Finding]:
    version = sys.version_info
    yield Finding('python', platform.python_version(), version >= (3, 11), True,
                  '' if version >= (3, 11) else 'Use Python 3.11 or newer.')
    yield Finding('coinkit', f'{coinkit.__version__}, {len(shipped_names())} shipped configs')
    compiler = next(filter(None, map(shutil.which, (os.environ.get('CXX', 'g++'), 'clang++'))), None)
    yield Finding('C++ compiler', compiler or '', compiler is not None, False,
                  '' if compiler else 'DeepSpeed compiles at first use: install g++ (apt install g++).')
    ninja = shutil.which('ninja')
    yield Finding('ninja', ninja or '', ninja is not None, False,
                  '' if ninja else 'DeepSpeed compiles at first use: pip install ninja.')


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> Iterator[Finding]:
    for name in REQUIRED:
        version = _version(name)
        yield Finding(name, version or '', version is not None, True,
                      '' if version else f'pip install -c constraints.txt {name}')
    for name, (extra, why) in EXTRAS.items():
        version = _version(name)
        yield Finding(f'{name} (extra)', version or why, version is not None, False,
                      '' if version else f"pip install 'coinkit[{extra}]'")


def _devices() -> Iterator[Finding]:
    yield Finding('CPU', f'{os.cpu_count()} cores')
    try:
        torch = import_module('torch')
    except ImportError as error:
        yield Finding('torch import', str(error), False, True, 'Install torch anew.')
        return
    if not torch.cuda.is_available():
        yield Finding('GPU', '', False, False, 'None seen: --mini runs on the CPU; 7B models need a CUDA GPU.')
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield Finding(f'GPU {index}', f'{device.name}, {device.total_memory / 2**30:.0f} GiB')
