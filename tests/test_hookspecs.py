"""A hook ships only with its entry in docs/hooks.md and with a test named after it."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from coinkit import hookspecs

ROOT = Path(__file__).resolve().parents[1]
HOOKS = sorted(name for name in dir(hookspecs) if name.startswith('coinkit_'))
DOCS = (ROOT / 'docs' / 'hooks.md').read_text(encoding='utf-8')


def named_tests() -> set[str]:
    """`test_hook_...` functions of all tests, here and in the plug-ins of this repository."""
    files = [path for folder in (ROOT / 'tests', ROOT / 'plugins') for path in folder.rglob('test_*.py')]
    return {name for path in files for name in re.findall(r'def (test_hook_\w+)', path.read_text(encoding='utf-8'))}


@pytest.mark.parametrize('hook', HOOKS)
def test_every_hook_is_documented_with_its_arguments(hook: str) -> None:
    arguments = ', '.join(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert f'### `{hook}({arguments})`' in DOCS


@pytest.mark.parametrize('hook', HOOKS)
def test_every_hook_has_a_test_of_its_name(hook: str) -> None:
    wanted = 'test_hook_' + hook.removeprefix('coinkit_')
    assert any(name == wanted or name.startswith(f'{wanted}_') for name in named_tests()), f'write {wanted}'


def test_the_docs_tell_of_no_hook_that_is_not_there() -> None:
    assert set(re.findall(r'^### `(coinkit_\w+)', DOCS, re.MULTILINE)) == set(HOOKS)


def test_every_hook_says_what_it_is_for_in_one_sentence() -> None:
    for node in ast.parse(inspect.getsource(hookspecs)).body:
        if isinstance(node, ast.FunctionDef):
            doc = ast.get_docstring(node)
            assert doc and doc.endswith('.') and '\n\n' not in doc, node.name
