"""Plug-ins: finding and checking them (`manager`), and calling the hooks of one run (`hooks`)."""

from coinkit.plugins.hooks import RunHooks
from coinkit.plugins.manager import Loaded, PluginManager, components_of, current_plugins, load_plugins

__all__ = ['Loaded', 'PluginManager', 'RunHooks', 'components_of', 'current_plugins', 'load_plugins']
