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

_SENTENCES = {
    CAPTION: '{}', 'textvqa': 'the sign says {}.', 'imagenet': 'this is a {}.', 'gqa': 'it is {} in color.',
    'vizwiz': 'it looks {}.', 'grounding': 'it is at {} in the image.', 'vqav2': 'i count {} of them.',
    'title': 'the title is {}.', 'author': 'the author is {}.', 'genre': 'the genre is {}.'}
_FIELDS = {'what is the title of this book?': 'title', 'who wrote this book?': 'author',
           'what is the genre of this book?': 'genre'}
_WORDS = {'yes': 'yes , that is so.', 'no': 'no , that is not so.', 'unanswerable': 'the image is not clear.'}


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


def sentence(kind: str, drawn: Drawn) -> str:
    """The answer as a whole sentence."""
    if kind == 'scienceqa':  # the letter first is not learnt: the object must be found before
        return f"the {drawn.meta['choices'][drawn.meta['gold_index']]} , option {drawn.answer}."
    if drawn.answer in _WORDS:
        return _WORDS[drawn.answer]
    return _SENTENCES[_FIELDS.get(drawn.question, kind)].format(drawn.answer)


def ask(kind: str, drawn: Drawn, rng: Random) -> str:
    """The human turn: without a line (a fifth), with one that wants a sentence (a fifth), or with one of the tasks."""
    bare = f'provide the bounding box of the {drawn.question}.' if kind == 'grounding' else drawn.question
    choice = rng.random()
    if kind == CAPTION or choice < 1 / 5:
        return bare
    if choice < 2 / 5:
        return f'{bare}\n{rng.choice(SENTENCE_LINES)}'
    return instruct(kind, drawn.question, rng.choice(STYLES), rng)


def draw_sentence(rng: Random, mix: Mapping[str, float]) -> tuple[Drawn, str, str]:
    """One pre-training sample of a kind drawn by its weight in `mix`: picture with its facts, human turn, sentence."""
    kind = rng.choices(list(mix), list(mix.values()))[0]
    drawn = (caption if kind == CAPTION else TASKS[kind])(rng)
    return drawn, ask(kind, drawn, rng), sentence(kind, drawn)
