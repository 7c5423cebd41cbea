"""How the mini tasks ask for their answer format: the three instruction styles of CoIN, in short words of our own.

`original` gives five tasks the same last line, `diverse` gives every task its own, and `10type` draws one of ten
paraphrases per row. Grounding's instruction contains the phrase to find, as in CoIN.
"""

from __future__ import annotations

from random import Random

WORD = '{}\nanswer with a single word.'

ORIGINAL: dict[str, str] = {
    'scienceqa': '{}\nanswer with the letter.', 'textvqa': WORD, 'imagenet': WORD, 'gqa': WORD,
    'vizwiz': '{}\nanswer with a single word. if unclear say unanswerable.',
    'grounding': 'provide the bounding box of the {}.', 'vqav2': WORD, 'ocrvqa': WORD}

DIVERSE: dict[str, str] = {
    'scienceqa': '{}\nanswer with the letter.',
    'textvqa': '{}\ncopy the text on it.',
    'imagenet': '{}\nname it in one short word.',
    'gqa': '{}\nreply in brief, one word only.',
    'vizwiz': '{}\nprovide a short reply. if unclear say unanswerable.',
    'grounding': 'provide the bounding box of the {}.',
    'vqav2': '{}\nanswer with a single number.',
    'ocrvqa': '{}\ncondense the answer to one word.'}

_LINES: dict[str, tuple[str, ...]] = {
    'scienceqa': (
        'answer with the letter.', 'give the letter of the option.', 'which letter is right?', 'only the letter.',
        'reply with the letter of the right option.', 'choose a letter.', 'the letter is enough.', 'write one letter.',
        'pick the right option by its letter.', 'respond with a letter.'),
    'textvqa': (
        'answer with a single word.', 'copy the text on it.', 'give only the text.', 'write what it says.',
        'read it out.', 'reply with the text alone.', 'the text only.', 'spell what is written.',
        'respond with the written text.', 'just the words on the sign.'),
    'imagenet': (
        'answer with a single word.', 'name it in one short word.', 'give only its name.', 'one word is enough.',
        'reply with the name of the shape.', 'which shape is it?', 'the name alone.', 'write the name of the object.',
        'respond with one word.', 'just name it.'),
    'gqa': (
        'answer with a single word.', 'reply in brief, one word only.', 'one word, please.', 'give a one word answer.',
        'keep it to one word.', 'respond in a word.', 'a word is enough.', 'write one word.', 'short answer.',
        'use one word.'),
    'vizwiz': (
        'answer with a single word. if unclear say unanswerable.',
        'provide a short reply. if unclear say unanswerable.', 'one word, or unanswerable.',
        'say unanswerable if it is not clear.', 'a color or unanswerable.',
        'reply unanswerable when the image is not clear.', 'give the color, else unanswerable.',
        'when nothing can be seen write unanswerable.', 'name the color. unanswerable if not clear.',
        'one color only. say unanswerable if unclear.'),
    'vqav2': (
        'answer with a single word.', 'answer with a single number.', 'give the count.', 'one number only.',
        'reply with a number.', 'count them.', 'write the number.', 'respond with one number.', 'the number alone.',
        'just a number.'),
    'ocrvqa': (
        'answer with a single word.', 'condense the answer to one word.', 'read it from the cover.',
        'one word from the cover.', 'give only the word.', 'reply with what the book shows.',
        'as written on the book.', 'write the word alone.',
        'respond with one word of the cover.', 'just that word.')}
_GROUNDING = (
    'provide the bounding box of the {}.', 'where is the {}? give its bounding box.', 'find the {} and write its box.',
    'give the box of the {}.', 'box the {}.', 'locate the {} by its bounding box.',
    'what is the bounding box of the {}?', 'reply with the bounding box of the {}.',
    'show where the {} is with a box.', 'write the box around the {}.')
TEN_TYPES: dict[str, tuple[str, ...]] = {
    **{kind: tuple('{}\n' + line for line in lines) for kind, lines in _LINES.items()}, 'grounding': _GROUNDING}

STYLES = ('original', 'diverse', '10type')


def instruct(kind: str, question: str, style: str, rng: Random) -> str:
    """The human turn: the question in the style's template; `rng` chooses the paraphrase of `10type`."""
    if style == '10type':
        return rng.choice(TEN_TYPES[kind]).format(question)
    return {'original': ORIGINAL, 'diverse': DIVERSE}[style][kind].format(question)
