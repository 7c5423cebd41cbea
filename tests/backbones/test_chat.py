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


LONG = [turn for number in range(9) for turn in (
    Turn('human', f'{"<image>" if number % 3 == 0 else ""} question {number}?'),
    Turn('gpt', ['one', '', ' padded ', 'two\n\nlines', '<|im_end|>', 'one', 'one?', 'assistant\n', 'last'][number]))]
TRIMMED = CHAT.replace("{{ part['text'] }}", "{{ part['text'] | trim }}")
SYSTEM = '{{ bos_token }}{% if messages[0] %}<sys>be brief</sys>{% endif %}' + CHAT
NO_THOUGHT = CHAT.replace("<|im_start|>{{ message['role'] }}\n", "<|im_start|>{{ message['role'] }}\n"
                          "{% if message['role'] == 'assistant' %}<think></think>{% endif %}")
TEMPLATES = {'chat': CHAT, 'question': QUESTION, 'trimmed': TRIMMED, 'system': SYSTEM, 'thought': NO_THOUGHT}


def one_by_one(template: ChatTemplate, turns) -> list[tuple[int, int]]:
    text, said = template.conversation('r', turns)[0], messages(turns)
    return template._one_by_one('r', text, said)


@pytest.mark.parametrize('name', TEMPLATES)
@pytest.mark.parametrize('rounds', [1, 3, 4, 9])
def test_marks_give_the_spans_of_rendering_every_beginning(name, rounds):
    template = ChatTemplate(TEMPLATES[name], 'T', {'bos_token': '<s>', 'eos_token': '</s>'})
    turns = LONG[:2 * rounds]
    text, spans = template.conversation('r', turns)
    assert spans == one_by_one(template, turns) and len(spans) == rounds
    assert template._by_marks('r', text, turns) in (spans, None) and (rounds < 4 or template._by_marks('r', text, turns))


@pytest.mark.parametrize('jinja', [
    CHAT.replace('<|im_end|>', "{% if loop.last %}<last>{% endif %}<|im_end|>"),
    CHAT + "{% if add_generation_prompt %}<think>{% endif %}",
    '{{ messages | length }}' + CHAT,
    CHAT.replace("{{ part['text'] }}", "{% if loop.last and not message is sameas messages[-1] %}{{ part['text'][:3] }}"
                 "{% else %}{{ part['text'] }}{% endif %}"),  # answers are shortened when another turn follows
])
def test_long_conversations_under_templates_that_rewrite(jinja):
    template = ChatTemplate(jinja, 'T')
    with pytest.raises(DataError, match='writes a conversation differently'):
        template.conversation('r', LONG)


def test_rounds_that_are_written_otherwise_are_rendered_one_by_one():
    odd = CHAT.replace('<|im_end|>', "{% if loop.index % 4 == 0 %}<fourth>{% endif %}<|im_end|>")
    template = ChatTemplate(odd, 'T')
    text, spans = template.conversation('r', LONG)
    assert template._by_marks('r', text, LONG) is None and spans == one_by_one(template, LONG)


def test_a_long_conversation_is_rendered_a_few_times(monkeypatch):
    template, count = ChatTemplate(CHAT, 'T'), []
    render = ChatTemplate._render
    monkeypatch.setattr(ChatTemplate, '_render', lambda *given, **named: count.append(1) or render(*given, **named))
    template.conversation('r', [turn for _ in range(40) for turn in TURNS[:2]])
    assert len(count) == 6


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
