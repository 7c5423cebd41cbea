"""The original Qwen-VL and Qwen-VL-Chat, from their own weight files and their own vocabulary.

The ViT runs without gradient unless it trains, as published; in LoRA training the resampler is frozen as well.
Shape suffixes: P pictures, S positions of one picture, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from coinkit.backbones.arguments import choice_problems, row_length
from coinkit.backbones.boxes import COIN, QWEN
from coinkit.backbones.decoder import DecoderBackbone
from coinkit.backbones.loading import Start
from coinkit.backbones.memory import DecoderSizes
from coinkit.backbones.pixels import pixel_reader
from coinkit.backbones.qwen_vl import checkpoint as folders
from coinkit.backbones.qwen_vl.encoding import QwenVLEncoder, without_first
from coinkit.backbones.qwen_vl.templates import LABEL_MASKS, TEMPLATES, make_template
from coinkit.backbones.qwen_vl.tokenizer import BOX_MARKS
from coinkit.backbones.weights import open_folder, read_json
from coinkit.errors import Problem, raise_problems

BOXES = {'native': QWEN, 'coin': COIN}


class QwenVL(DecoderBackbone):
    """Qwen-VL from a folder of the published layout, or 'mini': the weights that come with coinkit.

    `template='coin'` asks in CoIN's plain form, ends answers at `<|endoftext|>` alone and drops their first character;
    `drop_first_character` sets that by itself. `picture` is the text before a picture, {} its number: older releases
    wrote 'Picture {}:'. `boxes='native'` trains boxes in Qwen's own form and reads answers back, 'coin' leaves the
    records' form, as CoIN does; None takes the folder's word. `label_mask='answers'` supervises nothing but the answers
    and their ends. `init_seed` builds random weights from config.json alone; `key_mapping` renames tensors, pattern to
    replacement.
    """

    projector: ClassVar[str] = 'transformer.visual.attn_pool'
    language_model: ClassVar[str] = 'transformer'
    vision_tower: ClassVar[str] = 'transformer.visual'
    lora_targets = r'transformer\.h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.w1|mlp\.w2)'

    def __init__(self, checkpoint: str, *, dtype: str = 'bfloat16', template: str | None = None,
                 max_length: int | None = None, picture: str | None = None, boxes: str | None = None,
                 label_mask: str = 'published', drop_first_character: bool | None = None, attn: str = 'auto',
                 device: str = 'auto', init_seed: int | None = None, quantization: str | None = None,
                 key_mapping: Mapping[str, str] | None = None):
        raise_problems(self.preflight(
            checkpoint, dtype=dtype, template=template, max_length=max_length, picture=picture, boxes=boxes,
            label_mask=label_mask, attn=attn, device=device, init_seed=init_seed, quantization=quantization,
            key_mapping=key_mapping))
        start = Start.of(dtype, device, attn, init_seed, quantization)
        self.checkpoint, self.folder, self.dtype = checkpoint, folders.resolve(checkpoint), start.dtype
        self.context_length = folders.read_config(self.folder).max_position_embeddings
        self.max_length = row_length(max_length, self.context_length)
        self.model = self._build(start, key_mapping)
        config = self.model.config
        self.image_shape = (3, config.visual['image_size'], config.visual['image_size'])
        self.samples = self._read_folder(template, picture, boxes, label_mask)
        of_coin = self.template_name == 'coin'
        self.drop_first_character = of_coin if drop_first_character is None else drop_first_character
        stops = ('<|endoftext|>',) if of_coin else ('<|endoftext|>', '<|im_end|>', '<|im_start|>')
        self.eos_ids = frozenset(map(self.codec.special_id, stops))

    def _build(self, start: Start, key_mapping: Mapping[str, str] | None) -> Any:
        from coinkit.backbones.qwen_vl.modeling import QwenVLForConditionalGeneration as Model

        config = folders.read_config(self.folder)
        self.codec = folders.read_vocabulary(self.folder, config)  # before gigabytes are read
        return start.model(Model, config, lambda: open_folder(self.folder), folder=self.folder,
                           keep=(self.vision_tower, 'lm_head'), key_mapping=key_mapping)

    def _read_folder(self, name: str | None, picture: str | None, boxes: str | None,
                     label_mask: str) -> QwenVLEncoder:
        card, config = read_json(self.folder / 'coinkit.json'), self.model.config
        self.template_name = name or card.get('template', 'chatml')
        self.boxes = boxes or card.get('boxes', 'native')
        return QwenVLEncoder(
            template=make_template(self.template_name, card=card, picture=picture, label_mask=label_mask), codec=self.codec,
            read_pixels=pixel_reader(config.visual['image_size'], card=card, aspect_ratio='stretch'),
            tokens_per_image=config.visual['n_queries'], max_length=self.max_length, context_length=self.context_length,
            boxes=BOXES[self.boxes], vocabulary=config.vocab_size,
            ntk_from=config.seq_length if config.use_dynamic_ntk else None)

    @property
    def decoder(self) -> nn.Module:
        return self.model.transformer

    @property
    def head(self) -> nn.Module:
        return self.model.lm_head

    @property
    def embed_tokens(self) -> nn.Module:
        return self.decoder.wte

    def new_cache(self) -> Any:
        return self.decoder.new_cache()

    def features(self, pixels_P: Tensor) -> Tensor:
        return self.decoder.visual(pixels_P)

    def decode(self, ids: Sequence[int]) -> str:
        """The text without special tokens, but for the marks of boxes that `read_answer` is to read."""
        text = self.codec.text(ids, keep=BOX_MARKS if self.boxes == 'native' else ())
        return (without_first(text) if self.drop_first_character else text).strip()

    def decoder_sizes(self) -> DecoderSizes:
        sizes = super().decoder_sizes()
        return replace(sizes, intermediate=sizes.intermediate // 2)  # the config counts both gates

    def save(self, folder: str | Path) -> None:
        """Write a folder that `QwenVL` loads again: weights, vocabulary, template and pixel statistics."""
        self.model.save_pretrained(str(folder), save_original_format=False)
        template = self.samples.template
        self._save_side_files(Path(folder), system=template.system, picture=template.picture, boxes=self.boxes)

    @classmethod
    def preflight(cls, checkpoint: str = '', **config: Any) -> list[Problem]:
        problems = choice_problems(config, template=TEMPLATES, boxes=BOXES, label_mask=LABEL_MASKS)
        if (picture := config.get('picture')) is not None and '{}' not in picture:
            problems.append(Problem('backbone.picture', f"'{picture}' has no place for a picture's number.",
                                    "Write {} there, as in 'Picture {}: '."))
        return problems + folders.folder_problems(checkpoint, weights=config.get('init_seed') is None)
