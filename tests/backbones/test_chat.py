"""Chat templates: answers are found in what the template writes, and a template that hides them is refused."""

from __future__ import annotations

import pytest

from coinkit.backbones.chat import QUESTION, ChatTemplate, choose_template, messages
from coinkit.errors import ConfigError, DataError
from coinkit.types import Turn
from tests.backbones.tiny_transformers import CHAT

TURNS = [Turn('human', '<image>\nfirst?'), Turn('gpt', 'one'), Turn('human', 'second?'), Turn('gpt', 'two')]


def answers(template: ChatTemplate, turns=TURNS) -> list[str]:
    text, spans = template.conversation('r', turns)
    return [text[start:end] for start, end in spans]


def test_pictures_keep_their_place():
    content = messages([Turn('human', 'see <image>\nand\n<image> here'), Turn('gpt', '')])
    assert content[0]['content'] == [{'type': 'text', 'text': 'see '}, {'type': 'image'}, {'type': 'text', 'text': 'and'},
                                     {'type': 'image'}, {'type': 'text', 'text': ' here'}]
    assert content[1] == {'role': 'assistant', 'content': [{'type': 'text', 'text': ''}]}


def test_answers_follow_the_generation_prompt():
    template = ChatTemplate(CHAT, 'T')
    assert answers(template) == ['one<|im_end|>\n', 'two<|im_end|>\n']
    text = template.conversation('r', TURNS)[0]
    assert text.startswith(template.prompt('r', TURNS[:1]) + 'one')


def test_the_question_alone():
    template = ChatTemplate(QUESTION, 'T', {'eos_token': '</s>'})
    assert template.prompt('r', TURNS[:1]) == 'first?'
    assert template.conversation('r', TURNS)[0] == 'first? one</s> second? two</s>'
    assert answers(template) == [' one</s>', ' two</s>']


def test_marked_answers():
    marked = ("{% for m in messages %}{{ m['role'] }}:{% if m['role'] == 'assistant' %}{% generation %}"
              "{{ m['content'][0]['text'] }}{% if loop.last %}!{% endif %}{% endgeneration %}{% endif %};{% endfor %}")
    template = ChatTemplate(marked, 'T')
    assert answers(template) == ['one', 'two!']


@pytest.mark.parametrize('jinja', [
    CHAT.replace('<|im_end|>', "{% if loop.last %}<last>{% endif %}<|im_end|>"),  # a turn changes when another follows
    CHAT + "{% if add_generation_prompt %}<think>{% endif %}",  # generation begins otherwise than training
])
def test_templates_that_rewrite_what_stands_before(jinja):
    template = ChatTemplate(jinja, "of 'folder'")
    with pytest.raises(DataError, match=r"record r: the chat template of 'folder' writes a conversation differently"):
        template.conversation('r', TURNS)


def test_templates_that_fail():
    with pytest.raises(DataError, match='record r: .* cannot write it: pictures are forbidden'):
        ChatTemplate("{{ raise_exception('pictures are forbidden') }}", 'T').prompt('r', TURNS[:1])
    with pytest.raises(DataError, match='cannot write it'):
        ChatTemplate('{% for m in %}', 'T').conversation('r', TURNS)


def test_choice():
    def choose(given, own):
        return choose_template(given, own, folder='F', tokens={}).jinja

    assert choose(None, 'own') == 'own' and choose(None, {'default': 'first', 'rag': 'x'}) == 'first'
    assert choose('question', 'own') == QUESTION and choose('{{ x }}', None) == '{{ x }}'
    with pytest.raises(ConfigError, match=r"'F' has no chat template\. Give Jinja text, or 'question'"):
        choose(None, None)
    with pytest.raises(ConfigError, match=r"unknown template 'qestion'\. Did you mean 'question'\?"):
        choose('qestion', 'own')
