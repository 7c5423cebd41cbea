"""Calling the hooks of a run: list order, results by name, errors that say whose."""

import pytest

from coinkit.errors import PluginError
from coinkit.hookspecs import hookimpl
from coinkit.plugins import RunHooks


class EWC:
    def __init__(self, penalty=1.0, calls=None):
        self.penalty, self.calls = penalty, [] if calls is None else calls

    def coinkit_loss_terms(self, state, batch):
        self.calls.append(self)
        return {'ewc': self.penalty}

    def coinkit_route(self, queries):
        return ['01-a'] * len(queries)


class Quiet:
    def coinkit_loss_terms(self):
        return None

    def coinkit_route(self, state):
        return None


def test_results_come_in_list_order_by_name_without_none() -> None:
    calls: list = []
    first, second = EWC(1.0, calls), EWC(2.0, calls)
    hooks = RunHooks([('EWC', first), ('Quiet', Quiet()), ('EWC', second)])
    assert hooks.call('coinkit_loss_terms', state=0, batch=0, output=0) == {'EWC': {'ewc': 1.0}, 'EWC-2': {'ewc': 2.0}}
    assert calls == [first, second]
    assert list(hooks.plugins) == ['EWC', 'Quiet', 'EWC-2']


def test_first_result_wins_in_list_order() -> None:
    hooks = RunHooks([('Quiet', Quiet()), ('EWC', EWC())])
    assert hooks.first('coinkit_route', state=0, queries=[1, 2]) == ('EWC', ['01-a', '01-a'])
    assert RunHooks([('Quiet', Quiet())]).first('coinkit_route', state=0, queries=[]) is None


def test_tryfirst_and_trylast_go_before_list_order() -> None:
    calls: list[str] = []

    class Named:
        def __init__(self, name):
            self.name = name

        def coinkit_end_task(self):
            calls.append(self.name)

    class First(Named):
        coinkit_end_task = hookimpl(tryfirst=True)(lambda self: calls.append(self.name))

    class Last(Named):
        coinkit_end_task = hookimpl(trylast=True)(lambda self: calls.append(self.name))

    kinds = {'l1': Last, 'a': Named, 'l2': Last, 'f1': First, 'b': Named, 'f2': First}
    hooks = RunHooks([(name, kind(name)) for name, kind in kinds.items()])
    hooks.call('coinkit_end_task', state=0)
    assert calls == ['f1', 'f2', 'a', 'b', 'l1', 'l2'] == hooks.implementers('coinkit_end_task')
    assert list(hooks.plugins) == list(kinds), 'the plug-ins themselves stay in list order'


def test_what_is_implemented_is_known_beforehand() -> None:
    hooks = RunHooks([('EWC', EWC())])
    assert hooks.has('coinkit_loss_terms') and not hooks.has('coinkit_log')
    assert hooks.implementers('coinkit_route') == ['EWC']
    assert hooks.call('coinkit_log', state=0, record={}) == {}
    with pytest.raises(AssertionError):
        hooks.has('coinkit_lug')


def test_one_plugin_alone_can_be_called() -> None:
    hooks = RunHooks([('EWC', EWC(1.0)), ('EWC', EWC(2.0))])
    assert hooks.call_one('EWC-2', 'coinkit_loss_terms', state=0, batch=0, output=0) == {'ewc': 2.0}
    assert hooks.call_one('EWC-2', 'coinkit_log', state=0, record={}) is None


def test_misspelt_hooks_and_arguments_are_refused() -> None:
    class Typo:
        def coinkit_end_taks(self, state): ...

        def coinkit_end_task(self, stat): ...

    with pytest.raises(PluginError) as caught:
        RunHooks([('Typo', Typo())])
    assert "Did you mean 'coinkit_end_task'?" in str(caught.value)
    assert "has no argument 'stat'. Did you mean 'state'? Allowed: state." in str(caught.value)
    assert 'test_run_hooks.py' in str(caught.value)


def test_a_wrapper_is_refused() -> None:
    class Wrapper:
        @hookimpl(wrapper=True)
        def coinkit_log(self, state, record):
            yield

    with pytest.raises(PluginError, match='is a hook wrapper'):
        RunHooks([('Wrapper', Wrapper())])


def test_static_and_marked_functions_and_modules_count() -> None:
    class Marked:
        @hookimpl(specname='coinkit_log')
        def watch(self, state, record):
            return record['step']

        @staticmethod
        def coinkit_end_task(state):
            return 'done'

    hooks = RunHooks([('Marked', Marked())])
    assert hooks.call('coinkit_log', state=0, record={'step': 3}) == {'Marked': 3}
    assert hooks.call('coinkit_end_task', state=0) == {'Marked': 'done'}


def test_an_exception_says_whose_hook_it_was() -> None:
    class Fails:
        def coinkit_log(self, record):
            raise KeyError('loss')

    with pytest.raises(KeyError) as caught:
        RunHooks([('Fails', Fails())]).call('coinkit_log', state=0, record={})
    assert "in hook 'coinkit_log' of plug-in 'Fails'" in caught.value.__notes__[0]


def test_calls_are_traced(monkeypatch, capsys) -> None:
    monkeypatch.setenv('COINKIT_TRACE', '1')
    RunHooks([('EWC', EWC())]).call('coinkit_loss_terms', state=0, batch=0, output=0)
    assert capsys.readouterr().err == '[coinkit] coinkit_loss_terms -> EWC(state, batch)\n'
