"""coinkit: continual instruction tuning for multimodal language models, as plug-ins around one small core.

Public names load on first use, so that `import coinkit` and `coinkit --help` cost next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = '0.1.0'

_HOMES = {
    'coinkit.hookspecs': ('hookimpl',),
    'coinkit.types': ('Sample', 'Query', 'Turn', 'Dataset', 'Metric', 'Phase', 'Task', 'Prediction', 'Score', 'Cell',
                      'ScoreMatrix'),
    'coinkit.errors': ('CoinkitError', 'ConfigError', 'UnknownName', 'DataError', 'BadImage', 'PluginError', 'RunError',
                       'Interrupted', 'Problem'),
    'coinkit.registry': ('BACKBONES', 'METHODS', 'DATASETS', 'METRICS', 'STRATEGIES', 'JUDGES'),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ['__version__', *_HOME_OF]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'coinkit' has no attribute '{name}'")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
