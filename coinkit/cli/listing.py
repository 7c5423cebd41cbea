"""`coinkit list [KIND]`: registered components with provider and one line of their documentation, and shipped configs.

Nothing is imported for it: docstrings are read from the source.
"""

from __future__ import annotations

import argparse

from rich.table import Table

from coinkit.cli.options import add_plugin_arguments, plugins_of
from coinkit.cli.screen import show
from coinkit.config import shipped_names, shipped_root
from coinkit.config.signatures import one_line_doc
from coinkit.errors import UnknownName, unknown
from coinkit.registry import REGISTRIES, Registry

CONFIGS = 'configs'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = [*_registries(), CONFIGS]
    parser.add_argument('kind', nargs='?', metavar='KIND', help=f'only {", ".join(kinds)}')
    add_plugin_arguments(parser)


def main(args: argparse.Namespace) -> int:
    plugins_of(args).check_disabled()
    registries = _registries()
    if args.kind not in (None, CONFIGS, *registries):
        raise UnknownName(unknown('coinkit list', 'kind', args.kind, [*registries, CONFIGS]))
    for kind, registry in registries.items():
        if args.kind in (None, kind) and (args.kind or registry.names()):
            show(_component_table(kind, registry))
    if args.kind in (None, CONFIGS):
        show(_config_table())
    return 0


def _registries() -> dict[str, Registry]:
    """'methods', 'backbones'... and the singular where it is typed."""
    return {attribute.lower(): registry for attribute, registry in vars(REGISTRIES).items()}


def _component_table(kind: str, registry: Registry) -> Table:
    table = Table('name', 'provided by', 'what it is', title=kind, title_justify='left')
    for entry in registry.entries():
        text = f'the same as {entry.alias_of}' if entry.alias_of else one_line_doc(entry)
        table.add_row(entry.name, entry.provider, text)
    return table


def _config_table() -> Table:
    table = Table('name', 'what it is', title=CONFIGS, title_justify='left')
    for name in shipped_names():
        first = (shipped_root() / f'{name}.py').read_text(encoding='utf-8').splitlines()[:1]
        table.add_row(name, first[0].lstrip('# "\'') if first and first[0][:1] in '#"\'' else '')
    return table
