"""What the mini base models are pre-trained on: captions, and questions answered in whole sentences.

The tasks' own answer formats never appear, so a fresh base can see but has to be taught to answer `B` or `[0.1,...]`.
A line after the question is there in most samples and changes nothing in the answer: a base that has never met one
answers nonsense as soon as a task adds its instruction.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from coinkit.datasets.mini.styles import STYLES, instruct
from coinkit.datasets.mini.tasks import TASKS, Drawn
from coinkit.datasets.mini.world import book, box_text, scene, sign, spoil

CAPTION = 'caption'
KINDS = (CAPTION, *TASKS)
DEFAULT_MIX: Mapping[str, float] = {CAPTION: 8.0, **dict.fromkeys(TASKS, 1.0)}
SENTENCE_LINES = (
    'answer in a full sentence.', 'reply with a sentence.', 'use a whole sentence.', 'describe it in a sentence.',
    'say it in your own words.', 'write a short sentence.', 'tell me what it shows.', 'respond in plain words.')

_FORMS: dict[str, tuple[str, str]] = {
    'textvqa': ('the sign says {}.', '{} is written there.'), 'imagenet': ('this is a {}.', '{} is the shape of it.'),
    'vqav2': ('i count {} of them.', '{} of them are there.'), 'vizwiz': ('it looks {}.', '{} is its color.'),
    'grounding': ('it is at {} in the image.', '{} is where it is.'), 'gqa': ('it is {} in color.', '{} is its color.'),
    'title': ('the title is {}.', '{} is the title.'), 'author': ('the author is {}.', '{} is the author.'),
    'genre': ('the genre is {}.', '{} is the genre.')}
_FIELDS = {'what is the title of this book?': 'title', 'who wrote this book?': 'author',
           'what is the genre of this book?': 'genre'}


def caption(rng: Random) -> Drawn:
    """Everything in the picture, left to right, with boxes; the text of a sign or a book; or `nothing clear`."""
    share = rng.random()
    if share < .5:
        image, items = scene(rng)
        text = ' ; '.join(f'{item.size} {item.name} {box_text(item.box)}' for item in sorted(items, key=lambda o: o.x))
    elif share < .75:
        plate = sign(rng)
        image, text = plate.image, f'{plate.colour} sign reads {plate.text}'
    elif share < .93:
        cover = book(rng)
        image, text = cover.image, f'book titled {cover.title} author {cover.author} genre {cover.genre}'
    else:
        image, _ = scene(rng)
        image, text = spoil(rng, image), 'nothing clear'
    return Drawn(image, 'describe', text)


def sentences(kind: str, drawn: Drawn) -> tuple[str, ...]:
    """Every way to say the answer as a whole sentence; the answer comes last in one and first in another."""
    answer = drawn.answer
    if kind == CAPTION:
        return (answer,)
    if kind == 'scienceqa':
        named = drawn.meta['choices'][drawn.meta['gold_index']]
        return (f'the {named} , option {answer}.',)  # the letter first is not learnt: the object must be found before
    if answer in ('yes', 'no'):
        return (f"{answer} , that is {'so' if answer == 'yes' else 'not so'}.",)
    if answer == 'unanswerable':
        return ('the image is not clear.',)
    return tuple(form.format(answer) for form in _FORMS[_FIELDS.get(drawn.question, kind)])


def ask(kind: str, drawn: Drawn, rng: Random) -> str:
    """The human turn: without a line, with a line that wants a sentence, or with a line of the tasks; a third each."""
    bare = f'provide the bounding box of the {drawn.question}.' if kind == 'grounding' else drawn.question
    choice = rng.random()
    if kind == CAPTION or choice < 1 / 3:
        return bare
    if choice < 2 / 3:
        return f'{bare}\n{rng.choice(SENTENCE_LINES)}'
    return instruct(kind, drawn.question, rng.choice(STYLES), rng)


def draw_sentence(rng: Random, mix: Mapping[str, float]) -> tuple[Drawn, str, tuple[str, ...]]:
    """One pre-training sample: the picture with its facts, the human turn, every right answer in random order."""
    kind = rng.choices(list(mix), list(mix.values()))[0]
    drawn = (caption if kind == CAPTION else TASKS[kind])(rng)
    human, answers = ask(kind, drawn, rng), list(sentences(kind, drawn))
    rng.shuffle(answers)
    return drawn, human, tuple(answers)
