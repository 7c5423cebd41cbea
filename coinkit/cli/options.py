"""Options that several verbs share: which plug-ins take part."""

from __future__ import annotations

import argparse

from coinkit.plugins import PluginManager, load_plugins


def add_plugin_arguments(parser: argparse.ArgumentParser) -> None:
    """--plugin and --no-plugin."""
    parser.add_argument('--plugin', action='append', default=[], metavar='P',
                        help='a plug-in: path/to/file.py or a dotted module; may be repeated')
    parser.add_argument('--no-plugin', action='append', default=[], metavar='NAME',
                        help='leave this plug-in out; may be repeated')


def plugins_of(args: argparse.Namespace) -> PluginManager:
    """The process's plug-ins as asked for on the command line."""
    return load_plugins(args.plugin, disabled=args.no_plugin)
