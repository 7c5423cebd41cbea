"""Options that several verbs share: which plug-ins take part, and which config is meant."""

from __future__ import annotations

import argparse

from coinkit.config import RunConfig, load_config
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


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG, --mini, --cfg-options and the plug-in options."""
    parser.add_argument('config', metavar='CONFIG', help="a config file, or a shipped name ('coinkit list configs')")
    parser.add_argument('--mini', action='store_true',
                        help='the same run on the embedded backbone and the mini tasks: minutes on a laptop')
    parser.add_argument('--cfg-options', nargs='+', action='extend', default=[], metavar='K=V',
                        help='set single keys: schedule.lr=1e-4 methods.0.rank=8')
    add_plugin_arguments(parser)


def config_of(args: argparse.Namespace) -> RunConfig:
    """The valid config that the command line describes; loads the plug-ins first."""
    return load_config(args.config, options=args.cfg_options, mini=args.mini, plugins=plugins_of(args))
