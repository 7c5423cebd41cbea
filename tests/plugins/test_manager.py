"""Every way in for a plug-in, what is refused at the door, and the record kept of those that came in."""

import hashlib
import importlib
import sys
from pathlib import Path

import pytest

from coinkit.errors import PluginError, UnknownName
from coinkit.plugins import current_plugins, load_plugins
from coinkit.registry import METHODS

GOOD = '''
class Halve:
    """Halves."""


def coinkit_register(registries):
    registries.METHODS.add('Halve', f'{__name__}:Halve')
'''


@pytest.fixture(autouse=True)
def fresh_plugins():
    yield
    load_plugins()


@pytest.fixture
def plugin(tmp_path: Path):
    def write(name: str, text: str = GOOD) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def refused(*specs: str, **options) -> str:
    with pytest.raises(PluginError) as caught:
        load_plugins(specs, **options)
    return str(caught.value)


def install(tmp_path: Path, monkeypatch, *, entry: str = 'halve = halve_plugin', text: str = GOOD) -> None:
    """A distribution with an entry point, as pip leaves it."""
    (tmp_path / 'halve_plugin.py').write_text(text)
    info = tmp_path / 'halve_dist-1.2.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: halve-dist\nVersion: 1.2\n')
    (info / 'entry_points.txt').write_text(f'[coinkit]\n{entry}\n')
    (info / 'RECORD').write_text('halve_plugin.py,,\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'halve_plugin', raising=False)
    importlib.invalidate_caches()


def test_hook_register_by_file(plugin) -> None:
    path = plugin('halve.py')
    manager = load_plugins([path])
    assert METHODS.get('Halve').__name__ == 'Halve'
    assert METHODS.entry('Halve').file == path
    row = manager.provenance()[-1]
    assert (row['name'], row['file'], row['components']) == ('halve', path, {'method': ['Halve']})
    assert row['sha256'] == hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_by_dotted_module(tmp_path, monkeypatch, plugin) -> None:
    plugin('halve_module/__init__.py', GOOD + "\n__version__ = '3.1'\n")
    monkeypatch.syspath_prepend(tmp_path)
    row = load_plugins(['halve_module']).provenance()[-1]
    assert (row['name'], row['version']) == ('halve_module', '3.1')
    before = row['sha256']
    plugin('halve_module/more.py', 'x = 1\n')
    assert load_plugins(['halve_module']).provenance()[-1]['sha256'] != before, 'the hash covers the whole package'


def test_by_entry_point_and_disabled(tmp_path, monkeypatch) -> None:
    install(tmp_path, monkeypatch)
    row = next(row for row in load_plugins().provenance() if row['name'] == 'halve')
    assert (row['version'], row['components']) == ('1.2', {'method': ['Halve']})
    assert len([row for row in load_plugins(['halve_plugin']).provenance() if row['components'].get('method')]) == 2
    manager = load_plugins(disabled=['halve'])
    manager.check_disabled()
    assert 'Halve' not in METHODS
    with pytest.raises(UnknownName):
        METHODS.get('Halve')


def test_an_entry_point_that_fails_to_import_names_the_way_out(tmp_path, monkeypatch) -> None:
    install(tmp_path, monkeypatch, text='import surely_not_installed\n')
    text = refused()
    assert "plug-in 'halve' (entry point halve_plugin of 'halve-dist')" in text
    assert "ModuleNotFoundError: No module named 'surely_not_installed'" in text
    assert '--no-plugin halve' in text
    load_plugins(disabled=['halve'])


def test_a_file_that_fails_to_import_shows_its_own_traceback(plugin) -> None:
    text = refused(plugin('broken.py', 'x = 1\ny = x / 0\n'))
    assert 'broken.py", line 2' in text and 'ZeroDivisionError' in text
    assert 'importlib' not in text and 'sources.py' not in text
    assert '--no-plugin broken' in text
    assert 'SyntaxError' in refused(plugin('broken2.py', 'def f(:\n'))


def test_a_file_that_does_not_exist(tmp_path) -> None:
    assert 'there is no file' in refused(str(tmp_path / 'nope.py'))


def test_a_register_that_fails_is_told_like_a_failing_import(plugin) -> None:
    text = refused(plugin('bad.py', 'def coinkit_register(registries):\n    registries.METHOD.add("a", "b:c")\n'))
    assert 'its coinkit_register fails' in text
    assert 'bad.py", line 2' in text


def test_a_misspelt_hook_is_refused_by_name(plugin) -> None:
    text = refused(plugin('typo.py', 'def coinkit_begin_taks(state): ...\n'))
    assert "plug-in 'typo'" in text and 'typo.py' in text
    assert "unknown hook 'coinkit_begin_taks'. Did you mean 'coinkit_begin_task'?" in text


def test_a_misspelt_argument_is_refused_with_the_list(plugin) -> None:
    text = refused(plugin('typo.py', 'def coinkit_log(state, recrod): ...\ndef coinkit_before_step(stat): ...\n'))
    assert "hook 'coinkit_log' has no argument 'recrod'. Did you mean 'record'? Allowed: state, record." in text
    assert "hook 'coinkit_before_step' has no argument 'stat'." in text
    assert "takes no '**kwargs'" in refused(plugin('typo2.py', 'def coinkit_log(**kwargs): ...\n'))


def test_a_taken_name_is_refused(plugin) -> None:
    text = refused(plugin('a.py', GOOD), plugin('b.py', GOOD))
    assert "method 'Halve' is claimed by two plug-ins: 'a'" in text and "'b'" in text
    assert 'two plug-ins are called' in refused(plugin('x/a.py', GOOD), plugin('y/a.py', GOOD.replace('Halve', 'Half')))


def test_a_plugin_that_does_nothing_is_refused(plugin) -> None:
    assert 'it would do nothing' in refused(plugin('idle.py', 'def begin_task(state): ...\n'))


def test_a_plugin_named_twice_is_loaded_once(plugin) -> None:
    path = plugin('halve.py')
    assert [row['name'] for row in load_plugins([path, path], entry_points=False).provenance()] == ['coinkit', 'halve']


def test_no_plugin_must_name_something(plugin) -> None:
    manager = load_plugins([plugin('halve.py')], disabled=['halv'])
    with pytest.raises(PluginError, match="--no-plugin halv: there is no such plug-in. Did you mean 'halve'?"):
        manager.check_disabled()
    assert 'cannot be disabled' in refused(disabled=['coinkit'])


def test_a_file_can_be_disabled(plugin) -> None:
    manager = load_plugins([plugin('halve.py')], disabled=['halve'])
    manager.check_disabled()
    assert 'Halve' not in METHODS


def test_loading_again_forgets_the_last_set(plugin) -> None:
    load_plugins([plugin('halve.py')])
    assert 'Halve' in METHODS
    load_plugins()
    assert 'Halve' not in METHODS
    assert current_plugins().provenance()[0]['name'] == 'coinkit'


def test_observers_are_plugins_with_run_hooks(plugin) -> None:
    manager = load_plugins([plugin('halve.py'), plugin('watch.py', 'def coinkit_log(state, record): ...\n')])
    assert [name for name, _ in manager.observers()] == ['watch']


def test_a_component_given_as_a_class_or_by_decorator(plugin) -> None:
    load_plugins([plugin('deco.py', 'from coinkit import METHODS\n\n\n@METHODS.register_module()\nclass Deco: ...\n')])
    assert METHODS.get('Deco').__name__ == 'Deco'
    assert METHODS.entry('Deco').provider == 'deco'


def test_register_is_traced(plugin, monkeypatch, capsys) -> None:
    monkeypatch.setenv('COINKIT_TRACE', '1')
    load_plugins([plugin('halve.py')])
    assert '[coinkit] coinkit_register -> halve(registries)' in capsys.readouterr().err
