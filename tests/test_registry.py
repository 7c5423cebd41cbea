"""Registries: lazy, exact, and honest about who provides what."""

import sys

import pytest

import coinkit
from coinkit.errors import ConfigError, PluginError, Problem, UnknownName
from coinkit.registry import BACKBONES, METHODS, METRICS, REGISTRIES, Registry, providing


@pytest.fixture
def registry() -> Registry:
    return Registry('thing')


def test_built_ins_are_there_without_asking_and_listing_imports_nothing() -> None:
    assert 'FineTune' in METHODS.names()
    assert METHODS.entry('MoELoRA').target == 'coinkit.methods.moelora:MoELoRA'
    assert METHODS.entry('MoELoRA').provider == 'coinkit'
    assert BACKBONES.entry('Llava').file.endswith('builtins.py')


def test_get_imports_the_class(registry) -> None:
    registry.add('Fraction', 'fractions:Fraction')
    assert registry.get('Fraction') is sys.modules['fractions'].Fraction
    assert registry.build(dict(type='Fraction', numerator=1, denominator=2)) == 0.5


def test_an_unknown_name_tells_the_nearest(registry) -> None:
    registry.add('FineTune', 'fractions:Fraction')
    with pytest.raises(UnknownName, match="unknown thing 'finetun'. Did you mean 'FineTune'?"):
        registry.get('finetun')


@pytest.mark.parametrize('key', ['os.path', 'os:path', 'antigravity', 'coinkit.registry.Registry', 'mmengine::Config'])
def test_dotted_strings_are_never_imported(registry, key: str) -> None:
    with pytest.raises(UnknownName):
        registry.get(key)
    assert 'antigravity' not in sys.modules


def test_two_plugins_that_claim_one_name_are_both_named(registry) -> None:
    registry.add('EWC', 'a:EWC', provider='first')
    with pytest.raises(PluginError) as caught:
        registry.add('EWC', 'b:EWC', provider='second')
    assert "'first' (a:EWC)" in str(caught.value)
    assert "'second' (b:EWC)" in str(caught.value)
    assert '--no-plugin second' in str(caught.value)


def test_a_built_in_name_is_taken_whatever_comes_first() -> None:
    with pytest.raises(PluginError, match="claimed by two plug-ins: 'coinkit'"):
        METHODS.add('FineTune', 'mine:FineTune', provider='mine')


def test_one_plugin_may_say_the_same_twice(registry) -> None:
    with providing('mine', 'mine.py'):
        registry.add('Half', 'fractions:Fraction')
        registry.add('Half', 'fractions:Fraction')
    assert [entry.provider for entry in registry.entries(provider='mine')] == ['mine']
    registry.drop('mine')
    assert 'Half' not in registry


def test_aliases_reach_the_same_class_and_are_told_apart() -> None:
    assert METRICS.get('grounding_coin_upstream') is METRICS.get('grounding_coin')
    assert METRICS.entry('grounding_coin_upstream').alias_of == 'grounding_coin'
    assert 'grounding_coin_upstream' not in METRICS.names()


@pytest.mark.parametrize(('target', 'words'), [
    ('no_such_module_here:X', "there is no module 'no_such_module_here'"),
    ('fractions:Fracton', "unknown class in 'fractions' 'Fracton'. Did you mean 'Fraction'?"),
])
def test_a_wrong_target_names_plugin_and_component(registry, target: str, words: str) -> None:
    registry.add('X', target, provider='mine')
    with pytest.raises(PluginError) as caught:
        registry.get('X')
    assert "thing 'X' of plug-in 'mine'" in str(caught.value)
    assert words in str(caught.value)


def test_a_target_is_module_colon_class(registry) -> None:
    with pytest.raises(PluginError, match='package.module:Class'):
        registry.add('X', 'package.module.Class', provider='mine')


def test_mmengines_decorator_comes_through_the_same_door(registry) -> None:
    @registry.register_module()
    class Mine:
        pass

    assert registry.get('Mine') is Mine


def test_build_needs_a_type() -> None:
    with pytest.raises(ConfigError, match="a method needs 'type'"):
        METHODS.build(dict(rank=8))


BAD = {'FineTune': dict(rank=0), 'MoELoRA': dict(rank=7), 'CIA': dict(ema_fixed=1.5), 'DynamicEMA': dict(ema_fixed=1.5),
       'InstructionGroups': dict(threshold=2.0), 'MRLoRA': dict(router_samples=0), 'OLoRA': dict(olora_lambda=-1.0),
       'LwF': dict(temperature=0.0), 'MAS': dict(mas_output='words'), 'Replay': dict(ratio=2.0, replay_mode='ratio'),
       'Joint': dict(joint_epochs=0.0, joint_steps='pass'), 'SingleTask': dict(expert_recipe='none')}
UNCHECKED = {'ZeroShot'}  # takes no arguments


def test_every_method_with_bad_values_is_here() -> None:
    assert {entry.name for entry in METHODS.entries(provider='coinkit') if not entry.alias_of} <= {*BAD, *UNCHECKED}


@pytest.mark.parametrize('name', BAD)
def test_a_method_is_not_built_from_values_that_no_run_can_use(name: str) -> None:
    with pytest.raises(ConfigError, match=next(iter(BAD[name]))):
        METHODS.build(dict(type=name, **BAD[name]))
    assert type(METHODS.build(dict(type=name))).__name__ == name


def test_a_name_that_a_method_does_not_take_is_the_constructors_error(registry) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'ema_fix'"):
        METHODS.build(dict(type='DynamicEMA', ema_fix=0.5))

    class Strict:
        @classmethod
        def preflight(cls, **given: int) -> list[Problem]:
            return [Problem('thing: x', 'is never right.')]

    registry.add('Strict', Strict)
    assert isinstance(registry.build(dict(type='Strict')), Strict), 'only methods are checked: data is looked at elsewhere'


def test_public_names_load_lazily() -> None:
    assert coinkit.METHODS is METHODS
    assert coinkit.Sample.__name__ == 'Sample'
    assert set(vars(REGISTRIES)) <= set(dir(coinkit))
    with pytest.raises(AttributeError, match='nothing'):
        coinkit.nothing  # noqa: B018
