"""Caption scores of the COCO caption toolkit (pycocoevalcap): BLEU-1..4, METEOR, ROUGE-L, CIDEr of a whole set, x100.

METEOR and the tokeniser that published numbers are made with are Java programs inside pycocoevalcap. Without a Java
runtime all seven are null, with the reason. `simple` is a tokeniser of our own, a named way around for the scores that
need no Java; it gives other numbers. The tokeniser is started here and not through pycocoevalcap, which writes into its
own package folder and shifts all following captions when one holds an odd line break.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from coinkit.errors import ConfigError, DataError, Problem

TOKENIZERS = ('ptb', 'simple')
NAMES = ('BLEU-1', 'BLEU-2', 'BLEU-3', 'BLEU-4', 'METEOR', 'ROUGE-L', 'CIDEr')
PACKAGE = 'pycocoevalcap'
_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")

Parts = Mapping[str, float | None]
Captions = dict[int, list[str]]


class NoJava(Exception):
    """Why a Java program gave nothing; stays inside this file."""


def scores(texts: Sequence[str], references: Sequence[Sequence[str]], tokenizer: str) -> tuple[Parts, str]:
    """The seven scores of the captions `texts`, and why some are null ('' when none is)."""
    if problems := missing_package():
        raise ConfigError(problems)
    nothing: dict[str, float | None] = dict.fromkeys(NAMES)
    try:
        if tokenizer == 'ptb':
            require_java()
        found, gold = tokenized(texts, references, ptb_tokens if tokenizer == 'ptb' else simple_tokens)
        if not any(map(any, gold.values())):
            raise DataError('no reference caption holds a word; there is nothing to compare with.')
        meteor = meteor_score(gold, found) if tokenizer == 'ptb' else None
    except NoJava as error:
        return nothing, str(error)
    parts = nothing | python_scores(gold, found) | {'METEOR': meteor}
    return parts, '' if meteor is not None else "METEOR needs caption_tokenizer='ptb'"


def missing_package() -> list[Problem]:
    if find_spec(PACKAGE) is not None:
        return []
    return [Problem('', f'caption scores need the package {PACKAGE}, which is not installed.',
                    "pip install 'coinkit[caption]' (about 104 MB).")]


def require_java() -> None:
    """Raises NoJava when no Java program can be started here."""
    cure = "Install a Java runtime (8 or newer), or use caption_tokenizer='simple', which gives other numbers."
    if shutil.which('java') is None:
        raise NoJava(f'no Java runtime: there is no `java` on PATH, and the PTB tokeniser and METEOR need it. {cure}')
    try:
        subprocess.run(['java', '-version'], check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoJava(f'no Java runtime: `java -version` failed ({error}). {cure}') from None


# --- words ------------------------------------------------------------------------------------------------------


def tokenized(texts: Sequence[str], references: Sequence[Sequence[str]], tokenize: Any) -> tuple[Captions, Captions]:
    """Captions and references by row, as words between spaces; all go to the tokeniser at once."""
    flat = [*texts, *(reference for each in references for reference in each)]
    words = iter(tokenize([' '.join(text.split()) for text in flat]))  # line breaks of any kind would shift what follows
    found = {row: [next(words)] for row in range(len(texts))}
    return found, {row: [next(words) for _ in each] for row, each in enumerate(references)}


def simple_tokens(lines: Sequence[str]) -> list[str]:
    """Words in lower case, with inner apostrophes and hyphens; no punctuation."""
    return [' '.join(_WORD.findall(line.lower())) for line in lines]


def ptb_tokens(lines: Sequence[str]) -> list[str]:
    """Penn Treebank tokens in lower case without punctuation, as the COCO toolkit makes them."""
    from pycocoevalcap.tokenizer import ptbtokenizer
    jar = Path(ptbtokenizer.__file__).parent / ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR
    command = ['java', '-cp', str(jar), 'edu.stanford.nlp.process.PTBTokenizer', '-preserveLines', '-lowerCase']
    text = '\n'.join(lines) + '\n'
    done = subprocess.run(command, input=text.encode('utf-8', 'replace'), capture_output=True)
    found = done.stdout.decode('utf-8', 'replace').split('\n')[:-1]
    if done.returncode or len(found) != len(lines):
        said = done.stderr.decode('utf-8', 'replace').strip()[-300:]
        raise NoJava(f'the PTB tokeniser gave {len(found)} lines for {len(lines)} captions (exit status '
                     f'{done.returncode}): {said}')
    marks = frozenset(ptbtokenizer.PUNCTUATIONS)
    return [' '.join(word for word in line.rstrip().split(' ') if word not in marks) for line in found]


# --- scores -----------------------------------------------------------------------------------------------------


def python_scores(gold: Captions, found: Captions) -> dict[str, float | None]:
    """BLEU-1..4, ROUGE-L and CIDEr (CIDEr-D, document frequencies from the references given)."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    bleu, _ = Bleu(4).compute_score(gold, found, verbose=0)
    parts = {f'BLEU-{n}': 100 * float(value) for n, value in enumerate(bleu, start=1)}
    return parts | {'ROUGE-L': 100 * float(Rouge().compute_score(gold, found)[0]),
                    'CIDEr': 100 * float(Cider().compute_score(gold, found)[0])}


def meteor_score(gold: Captions, found: Captions) -> float:
    from pycocoevalcap.meteor.meteor import Meteor
    meteor = Meteor()
    try:
        return 100 * meteor.compute_score(gold, found)[0]
    except (OSError, ValueError) as error:  # Java ended: a broken pipe, or an empty line instead of a number
        with suppress(OSError):
            meteor.meteor_p.stdin.close()  # what is left in it cannot be written, and the object's end would try again
        raise NoJava(f'METEOR stopped ({error}); it needs Java with 2 GB of memory.') from None
    finally:
        if meteor.lock.locked():  # compute_score lets go only when it succeeds, and the object's end waits for the lock
            meteor.lock.release()
