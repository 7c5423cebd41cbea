"""LLaVA-1.5 on transformers' LlavaForConditionalGeneration, with the published prompts, labels and pixels.

The vision tower runs without gradient unless it trains, as published.
Shape suffixes: B rows, L tokens, P pictures, S tokens of one picture, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from coinkit.backbones.arguments import choice_problems, row_length
from coinkit.backbones.config_files import config_errors
from coinkit.backbones.decoder import DecoderBackbone
from coinkit.backbones.llava.checkpoint import Source
from coinkit.backbones.llava.templates import TEMPLATES, make_template
from coinkit.backbones.llava.vocabulary import published_rows, trim_codec, trim_config
from coinkit.backbones.loading import Start
from coinkit.backbones.pixels import ASPECT_RATIOS, pixel_reader
from coinkit.backbones.samples import SampleEncoder
from coinkit.backbones.text_codec import read_codec
from coinkit.backbones.weights import LazyTensors, read_json
from coinkit.errors import Problem, raise_problems

if TYPE_CHECKING:
    from transformers import LlavaConfig

RATIOS = {None: 'pad', 'square': 'crop', **{name: name for name in ASPECT_RATIOS}}  # a config's word, and ours


class Llava(DecoderBackbone):
    """LLaVA-1.5 from a folder in hub or original format, from its parts, or 'mini': the weights that come with coinkit.

    `checkpoint` is llava-hf/llava-1.5-7b-hf, liuhaotian/llava-v1.5-7b (their 13b likewise), or a language model alone
    (lmsys/vicuna-7b-v1.5). What the folder does not hold stands beside it: `vision_tower` is a folder of CLIP-L/336,
    `projector` an mm_projector.bin; given, they replace the checkpoint's own. The vocabulary is the published one: rows
    that a hub copy appended for its picture token are left out. `image_aspect_ratio` 'pad', 'crop' or 'stretch' makes a
    picture square; None is the config's word, 'pad' where it has none. `init_seed` builds random weights from config.json
    alone; `mask_correction=False` is CoIN's label mask, `legacy` the tokenizer behaviour when the folder does not say;
    `key_mapping` renames a checkpoint's tensors first, pattern to replacement.
    """

    projector: ClassVar[str] = 'model.multi_modal_projector'
    language_model: ClassVar[str] = 'model.language_model'
    vision_tower: ClassVar[str] = 'model.vision_tower'
    lora_targets = r'model\.language_model\.layers\.\d+\..*\.(q|k|v|o|gate|up|down)_proj'

    def __init__(self, checkpoint: str, *, vision_tower: str | None = None, projector: str | None = None,
                 dtype: str = 'bfloat16', template: str | None = None, max_length: int | None = None,
                 image_aspect_ratio: str | None = None, attn: str = 'auto', device: str = 'auto', legacy: bool | None = None,
                 mask_correction: bool = True, init_seed: int | None = None, quantization: str | None = None,
                 key_mapping: Mapping[str, str] | None = None):
        raise_problems(self.preflight(
            checkpoint, vision_tower=vision_tower, projector=projector, dtype=dtype, template=template,
            max_length=max_length, attn=attn, device=device, image_aspect_ratio=image_aspect_ratio, init_seed=init_seed,
            quantization=quantization, key_mapping=key_mapping))
        start = Start.of(dtype, device, attn, init_seed, quantization)
        self.checkpoint, self.dtype = checkpoint, start.dtype
        self.source = Source.of(checkpoint, vision_tower, projector)
        self.codec = read_codec(self.source.folder, legacy=legacy)
        with config_errors(self.source.folder / 'config.json'):
            config = self.source.config()
        self.context_length = config.text_config.max_position_embeddings
        self.max_length = row_length(max_length, self.context_length)
        self.model = self._build(config, start, key_mapping)
        ratio = image_aspect_ratio or RATIOS[self.source.fields.get('image_aspect_ratio')]
        self.samples = self._encoder(template, mask_correction, ratio)
        side = self.model.config.vision_config.image_size
        self.image_shape = (3, side, side)
        self.eos_ids = frozenset({self.codec.eos_id, *_ids(self.model.generation_config.eos_token_id)})

    def _build(self, config: LlavaConfig, start: Start, key_mapping: Mapping[str, str] | None) -> Any:
        from coinkit.backbones.llava.modeling import LlavaForConditionalGeneration as Model

        if rows := published_rows(config, self.codec):
            trim_config(config, rows, placeholder=self.codec.unk_id)
            self.codec = trim_codec(self.codec, rows)

        def tensors() -> LazyTensors:
            return self.source.tensors(key_mapping=key_mapping, rows=rows)

        return start.model(Model, config, tensors, folder=self.source.folder,
                           keep=(self.vision_tower, self.projector, 'lm_head'))

    def _encoder(self, name: str | None, mask_correction: bool, aspect_ratio: str) -> SampleEncoder:
        card = read_json(self.folder / 'coinkit.json')
        self.template_name = name or card.get('template', 'vicuna_v1')
        side = self.model.config.vision_config.image_size
        return SampleEncoder(
            template=make_template(self.template_name, card=card, mask_correction=mask_correction), codec=self.codec,
            read_pixels=pixel_reader(side, card=self.source.pixel_statistics(), aspect_ratio=aspect_ratio),
            tokens_per_image=self.model.tokens_per_image, max_length=self.max_length,
            context_length=self.context_length)

    @property
    def decoder(self) -> nn.Module:
        return self.model.model.language_model

    @property
    def head(self) -> nn.Module:
        return self.model.lm_head

    @property
    def embed_tokens(self) -> nn.Module:
        return self.decoder.embed_tokens

    @property
    def folder(self) -> Path:
        return self.source.folder

    @property
    def base_model(self) -> str:
        """The folder that transformers loads as this model without adapters; '' where the parts are not one yet."""
        if self.source.kind != 'llava':
            return ''
        return str(self.folder) if self.checkpoint == 'mini' else self.checkpoint

    @property
    def unread(self) -> tuple[str, ...]:
        return self.model.unread_parts

    def features(self, pixels_P: Tensor) -> Tensor:
        return self.model.picture_features(pixels_P)

    def save(self, folder: str | Path) -> None:
        """Write a hub-format folder that `Llava` loads again: weights, tokenizer, template and pixel statistics."""
        self.model.config.image_aspect_ratio = self.samples.read_pixels.aspect_ratio
        self.model.save_pretrained(str(folder), save_original_format=False)
        self._save_side_files(Path(folder))

    @classmethod
    def preflight(cls, checkpoint: str = '', *, vision_tower: str | None = None, projector: str | None = None,
                  **config: Any) -> list[Problem]:
        problems = choice_problems(config, template=TEMPLATES, image_aspect_ratio=ASPECT_RATIOS)
        source = Source.of(checkpoint, vision_tower, projector)
        if found := source.problems(weights=config.get('init_seed') is None):
            return problems + found
        word = source.fields.get('image_aspect_ratio')
        if config.get('image_aspect_ratio') is None and word not in RATIOS:
            problems.append(Problem(f"{source.folder / 'config.json'}: image_aspect_ratio", f'{word!r} is not supported.',
                                    f"Give backbone.image_aspect_ratio: {', '.join(ASPECT_RATIOS)}."))
        return problems


def _ids(value: int | Sequence[int] | None) -> tuple[int, ...]:
    return () if value is None else (value,) if isinstance(value, int) else tuple(value)
