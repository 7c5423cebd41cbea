"""MiniGPT-v2: EVA ViT-G and Llama-2-chat with the published prompts, labels and pixels.

Shape suffixes: B rows, L tokens, P pictures, S tokens of one picture, H hidden.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from coinkit.backbones.arguments import choice_problems, row_length
from coinkit.backbones.boxes import COIN, MINIGPT
from coinkit.backbones.decoder import DecoderBackbone
from coinkit.backbones.loading import Start, shapes_only
from coinkit.backbones.minigpt_v2 import checkpoint as files
from coinkit.backbones.minigpt_v2 import templates
from coinkit.backbones.minigpt_v2.encoding import MiniGPTv2Encoder, collate_rows
from coinkit.backbones.minigpt_v2.tensors import adapter_problems, fit_problems, model_tensors
from coinkit.backbones.peft_io import PeftLora, add_peft_block
from coinkit.backbones.pixels import pixel_reader
from coinkit.backbones.text_codec import read_codec
from coinkit.backbones.weights import LazyTensors, open_files, read_json
from coinkit.data.batch import Batch, Encoded
from coinkit.errors import ConfigError, Problem, raise_problems
from coinkit.nn.bank import AdapterBank

BOXES = {'native': MINIGPT, 'coin': COIN}
LORA, MISSING_IMAGE = ('merge', 'keep', 'drop'), ('text', 'zero')
KEPT = 'checkpoint'  # the block that holds the checkpoint's adapters


class MiniGPTv2(DecoderBackbone):
    """MiniGPT-v2 from one folder, from the three published parts, or 'mini': the weights that come with coinkit.

    `checkpoint` is a folder, or the published .pth beside `llama` (a Llama-2-chat folder) and `vit` (eva_vit_g.pth).
    `lora` says what becomes of the checkpoint's adapters: merged, a frozen block of every bank, or dropped; `lora_alpha`
    replaces the config's alpha. `task_tag` ('vqa', 'refer'...) goes before questions that have none; `chat_template`,
    `max_txt_len` replace the config's; `blip_caption` cleans the 'question', the 'answer' or 'both'. `missing_image`
    'zero' gives a sample without a picture an empty one, as CoIN does. `boxes` 'native' trains boxes in MiniGPT-v2's own
    form and reads answers back, 'coin' leaves them as records write them. `legacy` None is the tokenizer folder's word.
    """

    projector: ClassVar[str] = 'llama_proj'
    language_model: ClassVar[str] = 'llama_model.model'
    vision_tower: ClassVar[str] = 'visual_encoder'
    lora_targets = r'llama_model\.model\.layers\.\d+\.self_attn\.(q|v)_proj'

    def __init__(self, checkpoint: str, *, llama: str | None = None, vit: str | None = None, dtype: str = 'bfloat16',
                 template: str | None = None, max_length: int | None = None, attn: str = 'auto', device: str = 'auto',
                 legacy: bool | None = True, init_seed: int | None = None, quantization: str | None = None,
                 lora: str = 'merge', lora_alpha: float | None = None, task_tag: str | None = None,
                 chat_template: bool | None = None, max_txt_len: int | None = None, blip_caption: str | None = None,
                 boxes: str | None = None, missing_image: str = 'text'):
        raise_problems(self.preflight(
            checkpoint, llama=llama, vit=vit, dtype=dtype, template=template, max_length=max_length, attn=attn,
            device=device, init_seed=init_seed, quantization=quantization, lora=lora, task_tag=task_tag,
            max_txt_len=max_txt_len, blip_caption=blip_caption, boxes=boxes, missing_image=missing_image))
        start = Start.of(dtype, device, attn, init_seed, quantization)
        self.checkpoint, self.dtype, self.lora, self.missing_image = checkpoint, start.dtype, lora, missing_image
        self.kept_lora: PeftLora | None = None
        self.kept_bank: AdapterBank | None = None
        self.sources = files.sources(checkpoint, llama=llama, vit=vit)
        self.context_length = self.sources.config.text_config.max_position_embeddings
        self.max_length = row_length(max_length, self.context_length)
        self.model = self._build(start, lora_alpha)
        if self.kept_lora is not None:
            self.kept_bank = self.insert_bank(targets=list(self.kept_lora.factors))
        self.samples = self._encoder(template, legacy, task_tag, chat_template, max_txt_len, blip_caption, boxes)
        self.image_shape = (3, self.model.config.img_size, self.model.config.img_size)
        self.eos_ids = frozenset({self.codec.eos_id})

    def _build(self, start: Start, lora_alpha: float | None) -> Any:
        from coinkit.backbones.minigpt_v2.modeling import MiniGPTv2ForConditionalGeneration as Model

        return start.model(Model, self.sources.config, lambda: self._tensors(Model, lora_alpha), folder=self.folder,
                           keep=(self.vision_tower, 'ln_vision', self.projector, 'llama_model.lm_head'))

    def _tensors(self, model: Any, lora_alpha: float | None) -> LazyTensors:
        """The model's tensors, unread; sets `kept_lora`. Names and shapes are checked before gigabytes are read."""
        config, source = self.sources.config, files.resolve(self.checkpoint)
        base, trained = open_files(self.sources.files), open_files(self.sources.trained)
        found = base | trained
        tensors, self.kept_lora = model_tensors(found, config, source=source, lora=self.lora, alpha=lora_alpha)
        own = shapes_only(model, config, dtype=self.dtype).state_dict()
        problems = fit_problems(tensors, {name: tuple(one.shape) for name, one in own.items()}, source=source,
                                tied=config.tie_word_embeddings)
        if self.lora != 'drop':
            problems += adapter_problems(found, config, source=source, expected=bool(self.sources.trained))
        raise_problems(problems)
        return tensors

    def _encoder(self, name: str | None, legacy: bool | None, task_tag: str | None, chat_template: bool | None,
                 max_txt_len: int | None, processor: str | None, boxes: str | None) -> MiniGPTv2Encoder:
        config, folder = self.model.config, self.sources.folder
        card = read_json(folder / 'coinkit.json')
        statistics = read_json(folder / 'preprocessor_config.json') | card
        self.codec = read_codec(folder, legacy=legacy)
        self.template_name = name or card.get('template', 'minigpt_v2')
        template = templates.make_template(
            self.template_name, card=card, wrapper=config.prompt_template, end_sym=config.end_sym,
            chat_template=config.chat_template if chat_template is None else chat_template, pad_token=config.pad_token,
            max_txt_len=max_txt_len or config.max_txt_len, max_context_len=config.max_context_len,
            tokens_per_image=config.tokens_per_image, task_tag=task_tag, processor=processor)
        published = self.template_name == 'minigpt_v2'
        self.boxes = boxes or card.get('boxes', 'native' if published else 'coin')
        pad_id = self.codec.backend.token_to_id(config.pad_token) if published else None
        self.pad_id = self.codec.eos_id if pad_id is None else pad_id
        return MiniGPTv2Encoder(
            template=template, codec=self.codec, tokens_per_image=config.tokens_per_image, max_length=self.max_length,
            read_pixels=pixel_reader(config.img_size, card=statistics, aspect_ratio='stretch'),
            context_length=self.context_length, boxes=BOXES[self.boxes],
            zero_picture=self.missing_image == 'zero', unseen_id=pad_id)

    @property
    def folder(self) -> Path:
        return self.sources.folder

    # --- samples and answers ------------------------------------------------------------------------------------

    def collate(self, items: Sequence[Encoded], *, padding_side: str) -> Batch:
        return collate_rows(items, padding_side=padding_side, pad_id=self.pad_id)

    def decode(self, ids: Sequence[int]) -> str:
        """Text up to the end symbol, behind a repeated prompt."""
        ids = list(ids)
        end = ids.index(self.codec.eos_id) if self.codec.eos_id in ids else len(ids)
        return templates.answer_text(self.codec.decode(ids[:end]))

    # --- modules ------------------------------------------------------------------------------------------------

    @property
    def decoder(self) -> nn.Module:
        return self.model.llama_model.model

    @property
    def head(self) -> nn.Module:
        return self.model.llama_model.lm_head

    @property
    def embed_tokens(self) -> nn.Module:
        return self.decoder.embed_tokens

    def features(self, pixels_P: Tensor) -> Tensor:
        frozen = not any(one.requires_grad for part in (self.model.visual_encoder, self.model.ln_vision)
                         for one in part.parameters())
        with torch.no_grad() if frozen else contextlib.nullcontext():
            states_PTW = self.model.image_states(pixels_P)
        return self.model.project(states_PTW)

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute the layers of both towers in the backward pass, or not."""
        super().set_gradient_checkpointing(enabled)
        for block in self.model.visual_encoder.blocks:
            block.gradient_checkpointing = enabled
            block._gradient_checkpointing_func = partial(recompute, use_reentrant=False)

    # --- adapters -----------------------------------------------------------------------------------------------

    def insert_bank(self, *, targets: str | list[str] | None = None, gate: str = 'none',
                    **options: Any) -> AdapterBank:
        """A bank as every backbone makes it; adapters that were kept become its frozen block 'checkpoint'."""
        if self.kept_lora is not None and gate != 'none':
            raise ConfigError(Problem('backbone.lora', f"'keep' makes the checkpoint's adapters a block without gate, but "
                                      f"the method's blocks are gated by '{gate}'.", "Use backbone.lora='merge'."))
        if self.kept_bank is not None:
            self.kept_bank.remove()
            self.kept_bank = None
        bank = super().insert_bank(targets=targets, gate=gate, **options)
        if self.kept_lora is not None:
            add_peft_block(bank, _over_all_targets(self.kept_lora, bank), block=KEPT, trainable=False)
        return bank

    # --- the rest -----------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write a folder that `MiniGPTv2` loads again: weights, tokenizer, template and pixel statistics."""
        self.model.save_pretrained(str(folder), state_dict=self._state())
        self._save_side_files(Path(folder), boxes=self.boxes)

    def _state(self) -> dict[str, Tensor] | None:
        """What to save while the kept adapters are the only bank: bare weights, and the adapters beside them."""
        if self.kept_bank is None or self.kept_lora is None:
            return None
        rank, scale = self.kept_lora.rank, self.kept_lora.scale
        self.model.config.lora = {**self.model.config.lora, 'r': rank, 'alpha': scale * rank}
        base = {f'{name}.base.': f'{name}.' for name in self.kept_bank.targets}
        state = {}
        for name, tensor in self.model.state_dict().items():
            module = name.rpartition('.')[0]
            if module in self.kept_bank.layers:
                continue
            state[name.replace(f'{module}.', base.get(f'{module}.', f'{module}.'), 1)] = tensor
        for module, pair in self.kept_lora.factors.items():
            state |= {f'{module}.lora_{half}.default.weight': tensor for half, tensor in zip('AB', pair, strict=True)}
        return state

    @classmethod
    def preflight(cls, checkpoint: str = '', *, llama: str | None = None, vit: str | None = None,
                  **config: Any) -> list[Problem]:
        problems = choice_problems(config, template=templates.TEMPLATES, lora=LORA, task_tag=templates.TASK_TAGS,
                                   blip_caption=templates.PROCESSED, boxes=BOXES, missing_image=MISSING_IMAGE)
        weights = config.get('init_seed') is None and config.get('device') != 'meta'
        return problems + files.checkpoint_problems(checkpoint, llama=llama, vit=vit, weights=weights)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {'lora': self.lora, 'missing_image': self.missing_image}


def _over_all_targets(lora: PeftLora, bank: AdapterBank) -> PeftLora:
    """The same adapters with zeros on the bank's other linears; what the bank does not wrap stays an error there."""
    factors = dict(lora.factors)
    for name, layer in bank.layers.items():
        if name not in factors:
            factors[name] = (torch.zeros(lora.rank, layer.in_features), torch.zeros(layer.out_features, lora.rank))
    return PeftLora(lora.rank, lora.scale, lora.dropout, factors)
