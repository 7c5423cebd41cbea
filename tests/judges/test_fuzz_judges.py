"""Whatever an endpoint answers and a row holds, a judge reads it or refuses it by an error of ours."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from coinkit.errors import DataError
from coinkit.judges.base import Answer
from coinkit.judges.http_json import HttpProblem, retry_after_s
from coinkit.judges.lenient import lenient_values
from coinkit.judges.openai_compatible import read_answer
from coinkit.judges.prompts import gold_text, judge_prompt
from coinkit.types import Prediction

quick = settings(deadline=None, max_examples=150, derandomize=True, database=None)
texts = st.text(st.characters(), max_size=20)  # lone surrogates too
values = st.recursive(st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | texts,
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                          st.sampled_from(['choices', 'message', 'content', 'text', 'usage', 'prompt_tokens', 'error']),
                          inner, max_size=3), max_leaves=6)
dates = st.builds('{}, {} Jan {} {}:00:00 {}'.format, st.sampled_from(['Mon', '']), st.integers(-1, 40),
                  st.sampled_from([0, 69, 1999, 2026, 9999, 10_000, 10**11]), st.integers(-1, 30),
                  st.sampled_from(['GMT', '+2400', '-9999', '+999999', '']))


@given(content=values, usage=values, whole=values)
@quick
def test_any_answer_of_an_endpoint(content, usage, whole):
    for blob in (whole, {'choices': [{'message': {'content': content}}], 'usage': usage, 'model': whole}):
        with suppress(HttpProblem):
            found = read_answer(blob)
            assert isinstance(found, Answer) and isinstance(found.text, str) and 'None' not in (found.text, found.model)
            assert found.tokens_in is None or 0 <= found.tokens_in <= 1e9


@given(header=dates | texts)
@example('Mon, 01 Jan 99999999999 00:00:00 GMT')
@quick
def test_any_retry_after(header):
    seconds = retry_after_s(header)
    assert seconds is None or seconds >= 0


@given(answer=texts, references=st.lists(texts, max_size=3), grounding=st.booleans(), context=st.dictionaries(
    st.sampled_from(['answer_bbox', 'gold_index', 'choices', 'size']), values))
@quick
def test_any_row_has_a_prompt_and_a_lenient_value_or_is_refused_by_its_id(answer, references, grounding, context):
    row = Prediction('the-id', answer, tuple(references), context)
    for ask in (lambda: judge_prompt('q', gold_text(row, grounding=grounding), answer, grounding=grounding),
                lambda: lenient_values({'type': 'grounding_coin' if grounding else 'gqa'}, [row])):
        try:
            ask()
        except DataError as error:
            assert 'the-id' in str(error)
