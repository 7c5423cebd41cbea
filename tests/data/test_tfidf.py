"""Similarity of two instructions: the published vectors, and scikit-learn's own vectoriser as the reference."""

from __future__ import annotations

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from coinkit.data.tfidf import PairSimilarity, group_scores
from coinkit.errors import DataError

WORD = 'Answer the question using a single word or phrase'
LETTER = "Answer with the option's letter from the given choices directly"
CAPTURE = 'Capture the essence of your response in a single word or a concise phrase'
BRIEFLY = 'Respond to the question briefly, using only one word or a phrase'
CONDENSE = 'Condense your answer for each question into a single word or concise phrase'
OBJECT = 'Answer the object in the image using a single word or phrase'
BOTH = 'What is the object in the image? Answer the question using a single word or phrase.'
VECTORS = [
    (LETTER, WORD, 0.091940), (WORD, OBJECT, 0.632790), (LETTER, OBJECT, 0.084580),
    (WORD, 'Please provide the bounding box coordinate of the region this sentence describes', 0.0),
    (CAPTURE, 'Express the object in the image in a single word or a short, descriptive phrase', 0.253209),
    (BRIEFLY, CAPTURE, 0.184432), ('Provide a succinct response with a single word or phrase', CAPTURE, 0.450268),
    (WORD, BRIEFLY, 0.503103), (CONDENSE, BRIEFLY, 0.304126), (CONDENSE, WORD, 0.632790), (BOTH, WORD, 0.776515),
    (BOTH, 'What is the object in the image?', 0.379978), ('What is the object in the image?', f'{WORD}.', 0.0),
    (WORD, WORD, 1.0), (f'{WORD}.', WORD, 1.0)]


@pytest.mark.parametrize(('first', 'second', 'expected'), VECTORS)
def test_published_vectors(first: str, second: str, expected: float) -> None:
    """To six decimals, in either order; a full stop at the end changes nothing."""
    similarity = PairSimilarity()
    assert similarity(first, second) == pytest.approx(expected, abs=5e-7)
    assert similarity(second, first) == similarity(first, second)
    assert similarity(f'{first}.', second) == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize(('first', 'second'), [
    ('a word, a WORD and another word', 'word upon word'), ('naïve 3D boxes', 'Boxes in 3d'), (CAPTURE, CONDENSE),
    ('red red green blue', 'blue cyan cyan pink'), ('x y z', 'apples')])
def test_it_is_scikit_learns_vectoriser_fitted_on_the_pair(first: str, second: str) -> None:
    """Repeated words, accents, digits, single letters: nothing but rounding differs."""
    vectors = TfidfVectorizer(stop_words='english').fit_transform([first, second])
    assert PairSimilarity()(first, second) == pytest.approx(float((vectors[0] @ vectors[1].T).sum()), abs=1e-12)


def test_texts_of_stop_words_are_unlike_or_an_error() -> None:
    assert PairSimilarity()('What is this?', 'Who are you?') == 0.0
    assert PairSimilarity(empty='error')('What is this?', 'apples') == 0.0  # one word is a vocabulary
    with pytest.raises(DataError, match="'What is this.' and 'Who are you.' have an empty vocabulary.*group_empty='zero'"):
        PairSimilarity(empty='error')('What is this?', 'Who are you?')


def test_a_pair_is_compared_once_and_a_text_cut_once(monkeypatch: pytest.MonkeyPatch) -> None:
    similarity, compared = PairSimilarity(), []
    monkeypatch.setattr(similarity, '_compare', lambda *pair: compared.append(pair) or 0.5)
    for _ in range(3):
        group_scores([WORD, LETTER], [[CAPTURE, LETTER], [WORD]], similarity)
    assert len(compared) == len(set(compared)) == 5  # six pairs of which one is asked in both orders


def test_a_group_scores_the_mean_of_all_pairs_or_the_largest() -> None:
    table = {('a', 'p'): 0.2, ('a', 'q'): 0.6, ('b', 'p'): 0.4, ('b', 'q'): 0.0, ('a', 'r'): 1.0, ('b', 'r'): 0.0}
    groups = [['p', 'q'], ['r']]
    assert group_scores(['a', 'b'], groups, lambda *pair: table[pair]) == pytest.approx([0.3, 0.5])
    assert group_scores(['a', 'b'], groups, lambda *pair: table[pair], reduce='max') == [0.6, 1.0]
