"""The battery over every registered method: a new one is tested by being registered."""

from __future__ import annotations

from typing import Any

from small_arguments import ARGUMENTS

from coinkit.plugins import load_plugins
from coinkit.registry import METHODS
from coinkit.testing import MethodBattery

load_plugins()
BESIDE: dict[str, list[dict[str, Any]]] = {}  # methods that one needs beside it

ROUTES = 'test_routes_see_neither_answers_nor_names'

for name in METHODS.names():
    globals()[f'Test{name}'] = type(f'Test{name}', (MethodBattery,), {
        'method': dict(type=name, **ARGUMENTS.get(name, {})), 'beside': BESIDE.get(name, ())})

TestMRLoRARandom = type('TestMRLoRARandom', (MethodBattery,), {  # routes that are drawn; the rest is as above
    'method': dict(type='MRLoRA', router_fallback='random', **ARGUMENTS['MRLoRA']), 'options': ['evaluation.limit=9'],
    **{name: None for name in vars(MethodBattery) if name.startswith('test_') and name != ROUTES}})
