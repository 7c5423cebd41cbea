"""`coinkit export` on a run directory made by hand: what it writes gives equal logits in PEFT and in transformers."""

from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText

from coinkit.backbones.llava import Llava
from coinkit.cli.main import main
from coinkit.config import dump, load_config
from coinkit.nn.adapter_folder import join_tensors, save_adapter

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


@pytest.mark.parametrize('to', ['peft', 'merged'])
def test_a_gated_bank_is_refused(learnt, tmp_path, capsys, to):
    assert main(['export', str(learnt['softmax'][0]), '--to', to, '--out', str(tmp_path / 'out')]) == 1
    assert "gated by 'softmax'" in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


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
