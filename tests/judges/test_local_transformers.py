"""The local judge on a tiny random Llama made here: batches equal single questions, its own settings, what is refused."""

from __future__ import annotations

import json
import shutil

import pytest

from coinkit.errors import ConfigError, RunError
from coinkit.judges.base import Answer, Question
from coinkit.judges.local_transformers import LocalTransformers, folder_fingerprint

TEMPLATE = ("{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}</s>{% endfor %}"
            '{% if add_generation_prompt %}<assistant>{% endif %}')
PROMPTS = ['rate this', 'rate the other one, which is longer', 'x', 'y' * 40, 'one more']


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Two layers, 16 wide, a tokenizer of single bytes, and a generation_config that must not matter."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp('judge') / 'tiny-judge'
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({'</s>': 0, **{letter: i for i, letter in enumerate(letters, start=1)}}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token='</s>', chat_template=TEMPLATE)
    fast.save_pretrained(str(folder))
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=257, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=160, eos_token_id=0, bos_token_id=None))
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=3.0)
    model.save_pretrained(str(folder))
    return folder


def judge(folder, **options) -> LocalTransformers:
    return LocalTransformers(str(folder), **{'dtype': 'float32', 'device': 'cpu', 'max_new_tokens': 6, **options})


def asked(asking: LocalTransformers, prompts=PROMPTS):
    found: dict[str, Answer] = {}

    def keep(question: Question, answer: Answer) -> None:
        assert question.content not in found
        found[question.content] = answer

    return found, asking.ask(map(asking.question, prompts), keep)


def greedy_loop(asking: LocalTransformers, prompt: str) -> str:
    """One token at a time, the whole prompt anew each time."""
    import torch

    ids = asking._ids(asking.question(prompt))
    start = len(ids)
    while len(ids) < start + 6:
        following = int(asking._model(torch.tensor([ids])).logits[0, -1].argmax())
        if following == 0:
            break
        ids = [*ids, following]
    return asking._tokenizer.decode(ids[start:], skip_special_tokens=True)


def test_batches_answer_as_a_greedy_loop_does(checkpoint):
    asking = judge(checkpoint, batch_size=3)
    found, unanswered = asked(asking)
    assert unanswered == [] and list(found) != PROMPTS and set(found) == set(PROMPTS)  # the longest first
    assert asking._ids(asking.question('half a pair \ud800')) == asking._ids(asking.question('half a pair ?'))
    assert {prompt: answer.text for prompt, answer in found.items()} == {
        prompt: greedy_loop(asking, prompt) for prompt in PROMPTS}
    assert all(answer.tokens_in > len(prompt) and answer.tokens_out <= 6 for prompt, answer in found.items())


def test_the_prompt_is_the_chat_template_with_the_system_message(checkpoint):
    asking = judge(checkpoint)
    ids = asking._ids(asking.question('hello'))
    assert asking._tokenizer.decode(ids) == '<system>You are a helpful assistant.</s><user>hello</s><assistant>'
    other = judge(checkpoint, system='', chat_template="Q {{ messages[0]['content'] }} A")
    assert other._tokenizer.decode(other._ids(other.question('hello'))) == 'Q hello A'


def test_published_decoding_samples(checkpoint):
    settings = judge(checkpoint, decoding='upstream')._generation
    assert (settings.do_sample, settings.temperature, settings.top_p, settings.repetition_penalty) == (True, .7, .8, 1.05)
    plain = judge(checkpoint)._generation
    assert not plain.do_sample and plain.max_new_tokens == 6 and plain.repetition_penalty in (None, 1.0)


def test_a_prompt_beyond_the_models_positions_is_left_unanswered(checkpoint):
    found, unanswered = asked(judge(checkpoint), ['short', 'z' * 200])
    assert list(found) == ['short'] and 'more than the model can read (160)' in unanswered[0].reason


def test_the_key_follows_the_weights_and_the_settings(checkpoint, tmp_path):
    def keyed(**options) -> str:
        return judge(checkpoint, **options).question('p').key

    same = keyed()
    assert keyed(batch_size=2, parse='upstream', device='cuda') == same
    assert len({same, keyed(max_new_tokens=7), keyed(dtype='bfloat16'), keyed(decoding='upstream'), keyed(system='x')}) == 5
    copy = tmp_path / 'tiny-judge'
    shutil.copytree(checkpoint, copy)
    assert judge(copy).question('p').key == same
    blob = bytearray((copy / 'model.safetensors').read_bytes())
    blob[-1] ^= 1
    (copy / 'model.safetensors').write_bytes(blob)
    assert judge(copy).question('p').key != same


def test_fingerprint_of_large_files_probes_them(tmp_path):
    path = tmp_path / 'model.safetensors'
    blob = bytearray(3 * 2**20)
    path.write_bytes(blob)
    first = folder_fingerprint(tmp_path)
    blob[-1] = 1
    path.write_bytes(blob)
    assert folder_fingerprint(tmp_path) != first


def test_out_of_memory_says_what_to_do(checkpoint, monkeypatch):
    import torch

    asking = judge(checkpoint)

    def full(*_, **__):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(asking._model, 'generate', full)
    with pytest.raises(RunError, match='batch_size below 16'):
        asked(asking)


def test_what_is_no_model_folder_is_refused(checkpoint, tmp_path):
    with pytest.raises(ConfigError, match='no config.json'):
        judge(tmp_path)
    (tmp_path / 'config.json').write_text('{}')
    with pytest.raises(ConfigError, match='no weights'):
        judge(tmp_path)
    with pytest.raises(ConfigError, match='batch_size'):
        judge(checkpoint, batch_size=0)


def test_a_chat_template_is_needed_and_may_refuse(checkpoint, tmp_path):
    copy = tmp_path / 'plain'
    shutil.copytree(checkpoint, copy)
    (copy / 'chat_template.jinja').unlink(missing_ok=True)
    config = json.loads((copy / 'tokenizer_config.json').read_text())
    config.pop('chat_template', None)
    (copy / 'tokenizer_config.json').write_text(json.dumps(config))
    with pytest.raises(ConfigError, match='no chat template'):
        asked(judge(copy), ['p'])
    with pytest.raises(ConfigError, match="system=''"):
        asked(judge(copy, chat_template="{{ raise_exception('no system messages') }}"), ['p'])
