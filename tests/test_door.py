"""What a newcomer meets first is true: links, commands and configs in the texts exist, scripts parse, every verb helps.

Texts are read as they are, so a page that promises a command which was renamed fails here.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coinkit.cli.main import VERBS
from coinkit.config import shipped_names

ROOT = Path(__file__).resolve().parents[1]
TEXTS = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/*.md'), *ROOT.glob('plugins/*/*.md')])
SCRIPTS = sorted([*ROOT.glob('tools/*.sh'), ROOT / '.ci' / 'run'])
PARTS = ('coinkit', 'configs', 'docs', 'plugins', 'tests', 'tools', '.ci')
WRITTEN = {'.py', '.md', '.sh', '.toml', '.cfg', '.txt', '.tmpl', ''}  # suffixes of files that people write
LONGEST = 400
# Built from pieces, so that this file does not contain what it forbids.
FORBIDDEN = ('/ro' + 'ot/', '/wo' + 'rk/', '/tmp' + '/v/', '/home' + '/', 'pypi' + '.org', 'pythonhosted' + '.org',
             'download.pytorch' + '.org', 'extra-index' + '-url')
VERB = re.compile(r'(?:^|[`\s])coinkit (?!import\b)([a-z][a-z-]*)\b')
TOOL = re.compile(r'\btools/[\w/]+\.(?:py|sh)\b')
CONFIG = re.compile(r'\bconfigs/[\w/]+\.py\b')
NAMED = re.compile(r'coinkit (?:train|test) ((?!work_dirs)[a-z_]+/[a-z_0-9]+)(?![\w/.])')


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def written_files() -> list[Path]:
    found = [path for part in PARTS for path in (ROOT / part).rglob('*')]
    found += [path for path in ROOT.iterdir() if path.suffix in ('.md', '.toml', '.cfg', '.txt')]
    return sorted(path for path in found if path.is_file() and path.suffix in WRITTEN
                  and not any(_is_not_ours(part) for part in path.relative_to(ROOT).parts))


def _is_not_ours(part: str) -> bool:
    return part in ('__pycache__', 'golden', 'build', 'dist') or part.endswith('.egg-info') or (
        part.startswith('.') and part != '.ci')


def code_of(text: str) -> Iterator[str]:
    """Code blocks and inline code."""
    yield from re.findall(r'```\w*\n(.*?)```', text, flags=re.DOTALL)
    yield from re.findall(r'`([^`\n]+)`', re.sub(r'```.*?```', '', text, flags=re.DOTALL))


@pytest.mark.parametrize('text', TEXTS, ids=name)
def test_relative_links_lead_somewhere(text: Path) -> None:
    for target in re.findall(r'\]\(([^)\s]+)\)', text.read_text(encoding='utf-8')):
        path, _, _ = target.partition('#')
        if path and '://' not in path and not path.startswith('mailto:'):
            assert (text.parent / path).exists(), f'{name(text)} links to {target}'


@pytest.mark.parametrize('text', TEXTS, ids=name)
def test_commands_in_the_texts_exist(text: Path) -> None:
    for code in code_of(text.read_text(encoding='utf-8')):
        for verb in VERB.findall(code):
            assert verb in VERBS, f'{name(text)} names the verb {verb!r} in {code!r}'
        for path in (*TOOL.findall(code), *CONFIG.findall(code)):
            assert (ROOT / path).exists(), f'{name(text)} names {path}'
        for config in NAMED.findall(code):
            assert config in shipped_names(), f'{name(text)} names the config {config}'


def test_the_readme_shows_the_two_commands_the_recipe_and_a_place_for_results() -> None:
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    for needed in ('bash tools/demo.sh', 'configs/coin/llava_moelora.py', '--dry-run', 'torchrun', '--mini',
                   '<!-- results:begin -->', '<!-- results:end -->', 'docs/write-a-method.md'):
        assert needed in readme, needed


def test_messages_name_tools_that_exist() -> None:
    """An error that sends its reader to a tool must not send him into the void."""
    sources = [path for path in (ROOT / 'coinkit').rglob('*.py') if 'configs' not in path.parts]
    for path in sources:
        for tool in TOOL.findall(path.read_text(encoding='utf-8')):
            assert (ROOT / tool).exists(), f'{name(path)} names {tool}'


def test_configs_page_has_every_key() -> None:
    """Written by a script from the schema; run it after a change: python tools/config_page.py."""
    code = 'import config_page as page; text = page.PAGE.read_text(); raise SystemExit(page.with_generated(text) != text)'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT / 'tools', capture_output=True, text=True, check=False)
    assert done.returncode == 0, f'run: python tools/config_page.py\n{done.stderr}'


def test_files_are_short_or_say_why_not() -> None:
    for path in written_files():
        lines = path.read_text(encoding='utf-8').splitlines()
        reasoned = any('long because' in line.lower() for line in lines[:12])
        assert len(lines) <= LONGEST or reasoned, f'{name(path)} has {len(lines)} lines and no "long because" at its top'


def test_nothing_of_anybodys_machine_is_left_in_the_files() -> None:
    for path in written_files():
        text = path.read_text(encoding='utf-8')
        found = [word for word in FORBIDDEN if word in text]
        assert not found, f'{name(path)} contains {found}'


@pytest.mark.parametrize('script', SCRIPTS, ids=name)
def test_scripts_parse(script: Path) -> None:
    done = subprocess.run(['bash', '-n', str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert script.stat().st_mode & 0o111, f'{name(script)} is not executable'


@pytest.mark.parametrize(('script', 'arguments', 'said'), [
    ('check.sh', ['--quick'], '--fast'), ('demo.sh', ['--method'], '--methods'),
    ('demo.sh', ['--methods', 'finetune,foo'], 'configs/mini/foo.py'), ('demo.sh', ['--methods'], 'finetune')])
def test_scripts_refuse_what_they_do_not_know_before_any_set_up(script: str, arguments: list[str], said: str) -> None:
    done = subprocess.run(['bash', str(ROOT / 'tools' / script), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr


def test_ci_runs_what_people_run() -> None:
    assert 'bash tools/check.sh\n' in (ROOT / '.ci' / 'run').read_text()


def test_the_set_up_finds_its_pins() -> None:
    pins = (ROOT / 'constraints.txt').read_text().splitlines()
    wanted = re.findall(r'\$\(pin (\w+)\)', (ROOT / 'tools' / 'setup_env.sh').read_text())
    assert {'torch', 'deepspeed', 'ninja'} <= set(wanted)
    for package in wanted:
        assert sum(pin.startswith(f'{package}==') for pin in pins) == 1, package


def test_licence_is_the_plain_text() -> None:
    lines = (ROOT / 'LICENSE').read_text(encoding='utf-8').splitlines()
    assert len(lines) == 201
    assert lines[0].strip() == 'Apache License'
    assert lines[-1].strip() == 'limitations under the License.'


def test_every_verb_helps_without_torch() -> None:
    code = ('import sys\nfrom coinkit.cli.main import VERBS, main\n'
            'assert not any(main([verb, "--help"]) for verb in VERBS)\n'
            'print("loaded:", [name for name in ("torch", "transformers", "peft") if name in sys.modules])')
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert 'loaded: []' in done.stdout
    assert all(f'usage: coinkit {verb}' in done.stdout for verb in VERBS)


def test_doors_are_thin() -> None:
    for path in sorted((ROOT / 'tools').glob('*.py')):
        tree = ast.parse(path.read_text(encoding='utf-8'))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == 'coinkit.cli.main']
        if calls:
            assert len(tree.body) <= 7, f'{name(path)} does more than open the door'
