"""`coinkit export` on a run directory made by hand: what it writes gives equal logits in PEFT and in transformers."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from coinkit.backbones.coin_io import load_coin, read_coin
from coinkit.backbones.llava import Llava
from coinkit.backbones.published_names import own_names
from coinkit.cli.main import main
from coinkit.config import dump, load_config
from coinkit.nn.adapter_folder import join_tensors, load_adapter, save_adapter

STAGE = '01-scienceqa'


@pytest.fixture(scope='module')
def learnt(tmp_path_factory):
    """A run directory per gate, and the logits its stage must give."""
    def make(gate):
        run = tmp_path_factory.mktemp(gate)
        (run / 'config.py').write_text(dump(load_config('mini/finetune', options=["backbone.dtype='float32'"])))
        (run / 'ledger.jsonl').write_text(json.dumps({'event': 'stage_done', 'stage': STAGE}) + '\n')
        backbone = Llava('mini', dtype='float32', device='cpu')
        bank = backbone.insert_bank(gate=gate)
        bank.add(['a', 'b'] if gate == 'softmax' else ['a'], rank=4, scale=2.0)
        generator = torch.Generator().manual_seed(0)
        state = {key: torch.randn(value.shape, generator=generator) * 0.02 for key, value in bank.state_dict().items()}
        bank.load_state_dict(state)
        projector = {f'{backbone.projector}.{name}': parameter.detach() * 1.1 for name, parameter
                     in backbone.model.get_submodule(backbone.projector).named_parameters()}
        backbone.model.load_state_dict(projector, strict=False)
        card = {'stage': STAGE, 'task': 'ScienceQA', 'backbone': backbone.describe(), 'bank': bank.card(),
                'trained': sorted(projector)}
        save_adapter(run / 'stages' / STAGE / 'adapter', join_tensors(bank.state_dict(), projector), card)
        return run, logits(backbone.model)

    return {gate: make(gate) for gate in ('none', 'softmax')}


@torch.no_grad()
def logits(model):
    model = model.eval().float()
    config = model.config
    number = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
    ids = torch.tensor([[1, *[config.image_token_id] * number, 40, 41, 42]])
    side = config.vision_config.image_size
    pixels = torch.linspace(-1, 1, 3 * side * side).view(1, 3, side, side)
    embeds = model.get_input_embeddings()(ids.where(ids != config.image_token_id, 0))
    features = model.get_image_features(pixels)
    features = torch.cat(list(getattr(features, 'pooler_output', features))) if not isinstance(features, torch.Tensor) \
        else features
    embeds = embeds.masked_scatter((ids == config.image_token_id)[..., None], features)
    return model(inputs_embeds=embeds).logits


def test_peft(learnt, tmp_path, capsys):
    run, wanted = learnt['none']
    out = tmp_path / 'out'
    assert main(['export', str(run), '--stage', '1', '--to', 'peft', '--out', str(out)]) == 0
    said = capsys.readouterr().out
    assert all(f'wrote {out / name}' in said for name in ('adapter_config.json', 'adapter_model.safetensors'))
    assert f'PeftModel.from_pretrained(model, {str(out)!r})' in said
    base = json.loads((out / 'adapter_config.json').read_text())['base_model_name_or_path']
    model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32), str(out))
    torch.testing.assert_close(logits(model), wanted, rtol=0, atol=1e-5)


def test_merged(learnt, tmp_path, capsys):
    run, wanted = learnt['none']
    out = tmp_path / 'out'
    assert main(['export', str(run), '--to', 'merged', '--out', str(out)]) == 0
    said = capsys.readouterr().out
    assert f"checkpoint={str(out)!r}" in said and 'model.safetensors' in said
    torch.testing.assert_close(logits(Llava(str(out), dtype='float32', device='cpu').model), wanted, rtol=0, atol=1e-4)
    stock = AutoModelForImageTextToText.from_pretrained(str(out), dtype=torch.float32)
    torch.testing.assert_close(logits(stock), wanted, rtol=0, atol=1e-4)


def test_coin(learnt, tmp_path, capsys):
    run, _ = learnt['softmax']
    out = tmp_path / 'out'
    assert main(['export', str(run), '--to', 'coin', '--out', str(out)]) == 0
    said = capsys.readouterr().out
    files = ('adapter_config.json', 'adapter_model.safetensors', 'non_lora_trainables.bin')
    assert all(f'wrote {out / name}' in said for name in files) and f'init_from={out}' in said
    stem = 'base_model.model.model.layers.0.self_attn.q_proj'
    assert {f'{stem}.lora_A.loraA.1.weight', f'{stem}.lora_B.loraB.0.weight', f'{stem}.lora_router.weight'} <= set(
        load_file(out / 'adapter_model.safetensors'))
    backbone = Llava('mini', dtype='float32', device='cpu')
    bank = backbone.insert_bank(gate='softmax')
    bank.add(['expert-0', 'expert-1'], rank=4, scale=2.0)
    load_coin(bank, read_coin(out, rename=own_names(backbone)))
    tensors, card = load_adapter(run / 'stages' / STAGE / 'adapter')
    own = dict(backbone.model.named_parameters())
    assert all(torch.equal(own[name], tensors[f'model.{name}']) for name in card['trained'])
    state = {name.replace('.expert-0.', '.a.').replace('.expert-1.', '.b.'): one for name, one in bank.state_dict().items()}
    assert all(torch.equal(one, tensors[f'bank.{name}']) for name, one in state.items())


@pytest.mark.parametrize(('gate', 'to', 'message'), [
    ('softmax', 'peft', "gated by 'softmax'.*no LoRA that PEFT could load. Use --to coin"),
    ('softmax', 'merged', "gated by 'softmax'.*cannot be merged into the weights. Use --to coin"),
    ('none', 'coin', r"hold routed experts \(MoELoRA\), and this stage's block 'a' has no router. Use --to peft"),
    (None, 'peft', 'no LoRA .*no PEFT folder to write. Use --to merged'),
    (None, 'coin', 'no LoRA .*no experts to write. Use --to merged')])
def test_a_form_that_cannot_hold_it_is_refused_before_weights_are_loaded(learnt, tmp_path, capsys, monkeypatch, gate, to,
                                                                        message):
    run, _ = learnt[gate or 'none']
    if gate is None:
        shutil.copytree(run, tmp_path / 'run')
        run = tmp_path / 'run'
        card = run / 'stages' / STAGE / 'adapter' / 'card.json'
        card.write_text(json.dumps({**json.loads(card.read_text()), 'bank': None}))
    monkeypatch.delattr(Llava, '__init__')
    assert main(['export', str(run), '--to', to, '--out', str(tmp_path / 'out')]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / 'out').exists()


def test_help_names_every_form(capsys):
    assert main(['export', '--help']) == 0
    said = ' '.join(capsys.readouterr().out.split())
    assert '{peft,merged,coin}' in said and "coin: routed experts (MoELoRA) as the adapter files of CoIN's" in said


@pytest.mark.parametrize('arguments, status, message', [
    (['--stage', '7'], 2, "unknown stage '7'"),
    (['--out', '{run}'], 2, 'is not an empty folder'),
])
def test_wrong_usage(learnt, tmp_path, capsys, arguments, status, message):
    run = learnt['none'][0]
    given = ['export', str(run), '--to', 'peft', '--out', str(tmp_path / 'out'), *arguments]
    assert main([each.replace('{run}', str(run)) for each in given]) == status
    assert message in capsys.readouterr().err


def test_not_a_run(tmp_path, capsys):
    (tmp_path / 'seed-1').mkdir()
    (tmp_path / 'seed-1' / 'ledger.jsonl').write_text('')
    assert main(['export', str(tmp_path), '--to', 'peft', '--out', str(tmp_path / 'out')]) == 1
    assert f'not a run directory (no ledger.jsonl). It holds several runs: {tmp_path}/seed-1' in capsys.readouterr().err
