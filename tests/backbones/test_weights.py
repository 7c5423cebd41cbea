"""Weight files: which ones a folder's are, lazy reading, strict loading, and how much memory loading takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from coinkit.backbones.loading import load_pretrained, random_model, shapes_only
from coinkit.backbones.weights import (
    FirstRows,
    listed,
    open_files,
    open_folder,
    read,
    read_json,
    renamed,
    shape_of,
    tensor_names,
    weight_names,
    weight_problems,
)
from coinkit.errors import CoinkitError, ConfigError

A, B = torch.arange(6.0).view(3, 2), torch.ones(2, dtype=torch.bfloat16)


def touch(folder, *names):
    for name in names:
        (folder / name).touch()


def index(folder, stem, kind, **where):
    (folder / f'{stem}.{kind}.index.json').write_text(json.dumps({'weight_map': where}))


# --- which files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('files, names', [
    (['model.safetensors', 'pytorch_model.bin', 'other.safetensors'], ['model.safetensors']),
    (['pytorch_model.bin', 'training_args.bin', 'mm_projector.bin'], ['pytorch_model.bin']),
    (['weights.safetensors', 'io.safetensors'], ['weights.safetensors']),
    (['b.safetensors', 'a.safetensors', 'c.bin'], ['a.safetensors', 'b.safetensors']),
    (['eva_vit_g.pth', 'checkpoint.pth'], ['checkpoint.pth', 'eva_vit_g.pth']),
    (['training_args.bin', 'optimizer.pt', 'mm_projector.bin', 'x.pth'], ['x.pth']),
    (['pytorch_model-00002-of-00002.bin'], ['pytorch_model-00001-of-00002.bin', 'pytorch_model-00002-of-00002.bin']),
    (['config.json', 'tokenizer.model'], []),
])
def test_files_of_a_folder(tmp_path, files, names):
    touch(tmp_path, *files)
    assert weight_names(tmp_path) == names


def test_an_index_names_the_shards(tmp_path):
    index(tmp_path, 'model', 'safetensors', x='model-00001-of-00002.safetensors', y='model-00002-of-00002.safetensors')
    touch(tmp_path, 'model-00001-of-00002.safetensors')
    assert len(weight_names(tmp_path)) == 2 and tensor_names(tmp_path) == {'x', 'y'}
    assert 'lacks model-00002-of-00002.safetensors, named by its index. CURE' in str(weight_problems(tmp_path, 'CURE')[0])


def test_shards_without_index(tmp_path):
    touch(tmp_path, 'model-00001-of-00003.safetensors', 'model-00003-of-00003.safetensors')
    assert 'lacks model-00002-of-00003.safetensors' in str(weight_problems(tmp_path, '')[0])


def test_no_weights(tmp_path):
    assert 'has no weights' in str(weight_problems(tmp_path, '', where='backbone.vision_tower')[0])


@pytest.mark.parametrize('text', ['{', '[1]'])
def test_json_that_is_no_object(tmp_path, text):
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(ConfigError, match='config.json: (is not JSON|holds a list)'):
        read_json(tmp_path / 'config.json')
    assert read_json(tmp_path / 'none.json') == {}


# --- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['model.safetensors', 'pytorch_model.bin', 'old.pth'])
def test_tensors_are_read_when_needed(tmp_path, name):
    if name.endswith('.safetensors'):
        save_file({'a': A, 'b': B}, tmp_path / name)
    else:  # a training checkpoint: the weights beside the optimizer; .pth in the format before zip files
        torch.save({'model': {'a': A, 'b': B}, 'epoch': 3}, tmp_path / name,
                   _use_new_zipfile_serialization=name != 'old.pth')
    found = open_folder(tmp_path)
    assert found.keys() == {'a', 'b'} == tensor_names(tmp_path)
    assert shape_of(found['a']) == (3, 2) and torch.equal(read(found['a']), A) and read(found['b']).dtype == B.dtype
    rows = FirstRows(found['a'], 2)
    assert shape_of(rows) == (2, 2) and torch.equal(read(rows), A[:2])
    names = renamed(found, {'a': 'x', 'b': None}.get)
    assert names.keys() == {'x'} and names['x'] is found['a']


def test_one_name_in_two_files(tmp_path):
    for name in ('a.safetensors', 'b.safetensors'):
        save_file({'x': A}, tmp_path / name)
    with pytest.raises(ConfigError, match='b.safetensors: x stand in another file'):
        open_folder(tmp_path)


@pytest.mark.parametrize('kind', ['safetensors', 'bin', 'pth'])
@pytest.mark.parametrize('keep', [0, 30, 0.9])
def test_truncated_files(tmp_path, kind, keep):
    file = tmp_path / f'x.{kind}'
    if kind == 'safetensors':
        save_file({'a': torch.zeros(500)}, file)
    else:
        torch.save({'a': torch.zeros(500)}, file, _use_new_zipfile_serialization=kind == 'bin')
    content = file.read_bytes()
    file.write_bytes(content[:keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(CoinkitError, match=f'x.{kind}. cannot be read: '):
        open_files([file])


def test_pickles_that_hold_more_than_tensors(tmp_path):
    torch.save({'a': A, 'code': subprocess.Popen}, tmp_path / 'x.bin')
    with pytest.raises(CoinkitError, match='cannot be read: it is cut short, or holds objects of other kinds'):
        open_files([tmp_path / 'x.bin'])
    torch.save([A], tmp_path / 'x.bin')
    with pytest.raises(CoinkitError, match='holds a list, expected tensors by name'):
        open_files([tmp_path / 'x.bin'])


# --- loading ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def small():
    """A language model's class, config and tensors."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=20, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2)
    model = random_model(LlamaForCausalLM, config, dtype=torch.float32, attn='eager', device=torch.device('cpu'), seed=3)
    return LlamaForCausalLM, config, model.state_dict()


def load(small, tensors, dtype=torch.float32, **options):
    cls, config, _ = small
    return load_pretrained(cls, config, tensors, folder='FOLDER', dtype=dtype, attn='eager', device=torch.device('cpu'),
                           **options)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_every_tensor_arrives_in_the_wanted_type(small, tmp_path, dtype):
    tensors = small[2]
    half = dict(list(tensors.items())[:7])
    save_file({name: one.half() for name, one in half.items()}, tmp_path / 'model-00001-of-00002.safetensors')
    save_file({name: one for name, one in tensors.items() if name not in half},
              tmp_path / 'model-00002-of-00002.safetensors')
    loaded = load(small, open_folder(tmp_path), dtype).state_dict()
    assert loaded.keys() == tensors.keys()
    for name, one in tensors.items():
        want = (one.half() if name in half else one).to(dtype)
        assert loaded[name].dtype == dtype and torch.equal(loaded[name], want), name


def test_buffers_that_no_file_has_are_right(small):
    """Rotary frequencies are computed, not stored: they must be the model's own after loading."""
    model = load(small, dict(small[2]))
    want = small[0](small[1]).model.rotary_emb.inv_freq
    assert torch.equal(model.model.rotary_emb.inv_freq, want)
    assert not any(one.is_meta for one in [*model.parameters(), *model.buffers()])


def test_tensors_that_do_not_fit_are_named(small):
    tensors = dict(small[2])
    del tensors['model.norm.weight']
    tensors |= {'model.layers.7.mlp.up_proj.weight': A, 'lm_head.weight': A,
                'model.layers.0.self_attn.rotary_emb.inv_freq': A}  # old checkpoints have this one: no problem
    with pytest.raises(ConfigError) as caught:
        load(small, tensors)
    assert [problem.message for problem in caught.value.problems] == [
        "'FOLDER': missing tensors: model.norm.weight.",
        "'FOLDER': tensors the model does not have: model.layers.7.mlp.up_proj.weight.",
        "'FOLDER': tensors of another shape: lm_head.weight is [3, 2], expected [20, 8]."]


def test_loading_leaves_the_library_as_it_was(small):
    from transformers.utils import logging

    logging.enable_progress_bar()
    before = logging.get_verbosity()
    with pytest.raises(ConfigError):
        load(small, {})
    assert logging.get_verbosity() == before and logging.is_progress_bar_enabled()


def test_shapes_only(small):
    cls, config, tensors = small
    model = shapes_only(cls, config, dtype=torch.bfloat16)
    assert {name: one.shape for name, one in model.state_dict().items()} == {k: v.shape for k, v in tensors.items()}
    assert all(one.is_meta and one.dtype == torch.bfloat16 for one in model.parameters())


def test_listed():
    assert listed(['a', 'b']) == 'a, b' and listed([str(n) for n in range(10)], 3) == '0, 1, 2 and 7 more'


# --- memory -------------------------------------------------------------------------------------------------------

MEASURE = r"""
import gc, json, os, re, sys
from pathlib import Path
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from coinkit.backbones.loading import load_pretrained
from coinkit.backbones.weights import open_folder, read, shape_of

def anonymous():  # memory of the process that no file stands behind: pages of mapped weights do not count
    return 1024 * int(re.search(r'^Anonymous:\s+(\d+)', open('/proc/self/smaps_rollup').read(), re.M)[1])

peak = 0

class Watched:  # a lazy tensor that looks at the memory whenever it is read
    def __init__(self, tensor):
        self.tensor = tensor
    def get_shape(self):
        return shape_of(self.tensor)
    def __getitem__(self, key):
        global peak
        content = self.tensor[key]
        peak = max(peak, anonymous())
        return content

def extra(folder, eager):  # peak while loading, over what the model takes
    global peak
    gc.collect()
    start = anonymous()
    tensors = open_folder(folder)
    if eager:
        tensors = {name: read(one).clone() for name, one in tensors.items()}
    model = load_pretrained(LlamaForCausalLM, LlamaConfig.from_pretrained(str(folder)),
                            {name: Watched(one) for name, one in tensors.items()}, folder=folder,
                            dtype=torch.bfloat16, attn='eager', device=torch.device('cpu'))
    peak = max(peak, anonymous())
    return peak - start - sum(one.numel() * one.element_size() for one in model.parameters())

tiny = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
LlamaForCausalLM(tiny)  # what the library keeps from its first use
for folder, eager in json.loads(sys.argv[1]):  # a fork each: memory that one case freed must not hide the next one's
    if (child := os.fork()) == 0:
        print(extra(Path(folder), bool(eager)), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def write_shards(folder, config, tensors, kind, dtype, count=4) -> int:
    """`count` shards of `dtype`; the size of the largest."""
    folder.mkdir()
    config.save_pretrained(str(folder))
    stem, names = {'safetensors': 'model', 'bin': 'pytorch_model'}[kind], list(tensors)
    where = {name: f'{stem}-{number * count // len(names) + 1:05d}-of-{count:05d}.{kind}'
             for number, name in enumerate(names)}
    for file in set(where.values()):
        content = {name: tensors[name].to(dtype) for name in names if where[name] == file}
        (save_file if kind == 'safetensors' else torch.save)(content, folder / file)
    index(folder, stem, kind, **where)
    return max((folder / file).stat().st_size for file in where.values())


def test_loading_needs_little_more_than_the_model(tmp_path):
    """The peak over the finished model stays below 1.2 of the largest shard; reading everything first does not."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=500, hidden_size=512, intermediate_size=1024, num_hidden_layers=5, num_attention_heads=4)
    tensors = {name: one.contiguous() for name, one in LlamaForCausalLM(config).state_dict().items()}
    cases = [('safetensors', torch.float32), ('bin', torch.float16)]
    folders = [tmp_path / str(number) for number in range(len(cases))]
    largest = [write_shards(folder, config, tensors, *case) for folder, case in zip(folders, cases, strict=True)]
    plan = [[str(folder), 0] for folder in folders] + [[str(folders[0]), 1]]
    done = subprocess.run([sys.executable, '-c', MEASURE, json.dumps(plan)], capture_output=True, text=True, check=True,
                          env=os.environ | {'OMP_NUM_THREADS': '1'}, timeout=300)
    *lazy, eager = map(int, done.stdout.split())
    assert all(extra <= 1.2 * shard for extra, shard in zip(lazy, largest, strict=True)), (lazy, largest)
    assert eager > 1.2 * largest[0]
