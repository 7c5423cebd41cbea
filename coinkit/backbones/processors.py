"""A checkpoint's own processor (tokenizer and image processor of transformers), without torchvision and safe in threads.

Pictures are read by Pillow. A processor that insists on a video processor, which needs torchvision, is built without it:
coinkit reads no videos. Nothing pads or cuts here, so tokenizers are never reconfigured while a thread uses them.
"""

from __future__ import annotations

import bisect
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from coinkit.backbones.weights import WHERE, read_json
from coinkit.errors import BadImage, ConfigError, DataError, Problem

logger = logging.getLogger(__name__)
Span = tuple[int, int]
SHAPES = ((320, 240), (64, 48), (240, 720), (1280, 160))  # pictures that a processor's count is tried on


@dataclass(frozen=True)
class Written:
    """A text as ids, with the characters each id stands for, and the tensors of its pictures."""

    ids: list[int]
    spans: list[Span]
    expanded: list[tuple[int, int]]  # where a picture's tag ended in the text, and how many characters longer it became
    tensors: dict[str, Tensor]

    def place(self, character: int) -> int:
        """A character of the text before pictures were written out, in the text after."""
        ends = [end for end, _ in self.expanded]
        return character + (self.expanded[at - 1][1] if (at := bisect.bisect_right(ends, character)) else 0)

    def tokens_in(self, start: int, end: int) -> list[int]:
        """Positions of the tokens that overlap these characters."""
        start, end = self.place(start), self.place(end)
        return [position for position, (first, last) in enumerate(self.spans) if first < end and last > start]


@dataclass
class Processor:
    """`inner` is a transformers processor."""

    inner: Any
    expands: bool  # writes a picture out as many tokens in the text; if not, it puts them in front
    _extra: dict[tuple[Span, ...], int] = field(default_factory=dict)
    _counts: dict[int, bool] = field(default_factory=dict)  # for how many pictures its own count of tokens is right

    @property
    def tokenizer(self) -> Any:
        return self.inner.tokenizer

    def __call__(self, sample_id: str, text: str, pictures: Sequence[Image.Image]) -> Written:
        options = {'return_text_replacement_offsets': True} if self.expands else {}
        try:
            found = dict(self.inner(
                text=[text], images=[list(pictures)] if pictures else None, return_offsets_mapping=True,
                add_special_tokens=self._adds_special(text), images_kwargs={'return_tensors': 'pt'}, **options))
        except (ValueError, TypeError, IndexError, StopIteration) as error:
            raise DataError(f'record {sample_id}: the processor cannot write it: {error}') from error
        ids, spans = found.pop('input_ids')[0], [tuple(span) for span in found.pop('offset_mapping')[0]]
        replaced = (found.pop('text_replacement_offsets', None) or [[]])[0]
        found.pop('attention_mask')
        if pictures and not self.expands:
            front = len(ids) - len(self.text_ids(text))
            spans[:front] = [(0, 0)] * front  # they stand for no characters of the text
        expanded = [(one['span'][1], one['new_span'][1] - one['span'][1]) for one in replaced]
        return Written(ids, spans, expanded, {name: torch.as_tensor(value) for name, value in found.items()})

    def text_ids(self, text: str) -> list[int]:
        """Ids of a text whose pictures are not written out."""
        return self.tokenizer(text, add_special_tokens=self._adds_special(text))['input_ids']

    def extra_tokens(self, text: str, sizes: Sequence[Span]) -> int:
        """How many more ids pictures of these sizes make; `text` has their tags. Found once per sizes.

        A processor that counts them itself is believed where it is right about pictures of a few shapes.
        """
        key = tuple(sizes)
        if key not in self._extra:
            self._extra[key] = self._counted(sizes) if self._counts_right(text, len(sizes)) else self._measured(text, sizes)
        return self._extra[key]

    def _counts_right(self, text: str, number: int) -> bool:
        """Found once for each number: several pictures may be written out otherwise than one."""
        if number not in self._counts:
            self._counts[number] = self.expands and number > 0 and self._tried(text, number)
        return self._counts[number]

    def _tried(self, text: str, number: int) -> bool:
        try:
            return all(self._counted([shape] * number) == self._measured(text, [shape] * number) for shape in SHAPES)
        except DataError:  # it refuses a picture of such a shape
            return False

    def _measured(self, text: str, sizes: Sequence[Span]) -> int:
        """The same by processing blank pictures."""
        blanks = [Image.new('RGB', size) for size in sizes]
        return len(self('with blank pictures', text, blanks).ids) - len(self.text_ids(text))

    def _counted(self, sizes: Sequence[Span]) -> int | None:
        """The same by the processor's own count, each tag being one id; None where it has none."""
        count = getattr(self.inner, '_get_num_multimodal_tokens', None)
        try:
            found = count(image_sizes=[(height, width) for width, height in sizes]).num_image_tokens if count else None
        except (AttributeError, LookupError, NotImplementedError, TypeError, ValueError) as error:
            logger.debug('%s cannot count its tokens of a picture (%s); they are measured', type(self.inner).__name__, error)
            return None
        return None if found is None else sum(found) - len(sizes)

    def check_sizes(self, sizes: Sequence[Span]) -> None:
        """Raise BadImage for a picture that the processor cannot read because of its size."""

    def instruction(self, text: str) -> dict[str, Tensor]:
        """What a Q-Former reads of the prompt; {} for models without one."""
        if not hasattr(self.inner, 'qformer_tokenizer'):
            return {}
        read = self.inner.qformer_tokenizer([text], add_special_tokens=self._adds_special(text))
        return {f'qformer_{name}': torch.tensor(read[name]) for name in ('input_ids', 'attention_mask')}

    def blank(self) -> dict[str, Tensor]:
        """The tensors of one blank picture, as small as the processor makes it."""
        return dict(self.inner.image_processor([[Image.new('RGB', (8, 8), 'white')]], return_tensors='pt'))

    def _adds_special(self, text: str) -> bool:
        bos = self.tokenizer.bos_token
        return bos is None or not text.startswith(bos)  # many templates write it themselves


class QwenProcessor(Processor):
    """The Qwen2-VL family: a picture's tokens follow from its size alone."""

    def extra_tokens(self, text: str, sizes: Sequence[Span]) -> int:
        reader, found = self.inner.image_processor, 0
        self.check_sizes(sizes)
        for width, height in sizes:
            found += reader.get_number_of_image_patches(height, width) // reader.merge_size**2 - 1
        return found

    def check_sizes(self, sizes: Sequence[Span]) -> None:
        for width, height in sizes:
            if max(width, height) > 200 * min(width, height):
                raise BadImage(f'a picture of {width} x {height} pixels is too narrow: one side may be up to 200 times '
                               'the other.')

    def limit_pixels(self, fewest: int | None, most: int | None) -> None:
        """Scale pictures to between `fewest` and `most` pixels; None leaves the checkpoint's own value."""
        size = self.inner.image_processor.size
        new = {'shortest_edge': fewest or size['shortest_edge'], 'longest_edge': most or size['longest_edge']}
        if new['shortest_edge'] > new['longest_edge']:
            raise ConfigError(Problem('backbone.min_pixels', f"{new['shortest_edge']} is more than max_pixels="
                                      f"{new['longest_edge']}."))
        self.inner.image_processor.size = type(size)(**new)


def load_processor(folder: Path, config: Any, *, kind: type[Processor] = Processor) -> Any:
    """The processor of a checkpoint folder; `config` is its transformers config."""
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
    from transformers.processing_utils import ProcessorMixin

    cls = _named_class(folder) or PROCESSOR_MAPPING.get(type(config), None)
    if cls is None:
        raise ConfigError(Problem(WHERE, f"'{folder}': transformers has no processor for '{config.model_type}'."))
    try:
        inner = without_video(cls).from_pretrained(str(folder), backend='pil', local_files_only=True,
                                                   trust_remote_code=False)
    except (ImportError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        for file in folder.glob('*.json'):
            read_json(file)  # names one that is cut short
        raise ConfigError(Problem(WHERE, f"'{folder}': its processor ({cls.__name__}) cannot be built: {error}")) from error
    for name in ('tokenizer', 'qformer_tokenizer'):
        _check_tokenizer(folder, getattr(inner, name, None))
    return kind(inner, cls.replace_image_token is not ProcessorMixin.replace_image_token)


def _named_class(folder: Path) -> Any:
    """The class that the folder's own files name."""
    import transformers

    files = ('processor_config.json', 'preprocessor_config.json', 'tokenizer_config.json')
    names = [read_json(folder / name).get('processor_class') for name in files]
    return next((found for name in names if name and (found := getattr(transformers, name, None)) is not None), None)


def without_video(cls: type) -> type:
    """The processor class, with no video processor where it wants one: none is loaded, checked or kept."""
    from transformers.processing_utils import ProcessorMixin

    names = cls.get_attributes()
    if 'video_processor' not in names:
        return cls

    class Checked(ProcessorMixin):  # comes after `cls`, so its __init__ gets what `cls` passes on
        def __init__(self, *args: Any, **named: Any):
            named = dict(zip(names, args, strict=False)) | named
            named.pop('video_processor', None)
            super().__init__(**named)

    class ImageOnly(cls, Checked):
        @classmethod
        def get_attributes(own) -> list[str]:
            return [name for name in names if name != 'video_processor']

        @classmethod
        def _get_arguments_from_pretrained(own, *args: Any, **named: Any) -> list[Any]:
            loaded = iter(super()._get_arguments_from_pretrained(*args, **named))
            return [None if name == 'video_processor' else next(loaded) for name in names]

    return type(cls.__name__, (ImageOnly,), {})


def _check_tokenizer(folder: Path, tokenizer: Any) -> None:
    if tokenizer is None:
        return
    if not getattr(tokenizer, 'is_fast', False):
        raise ConfigError(Problem(WHERE, f"'{folder}': its tokenizer ({type(tokenizer).__name__}) does not tell which "
                                  'characters a token stands for.', 'Get a copy with tokenizer.json.'))
    tokenizer.backend_tokenizer.no_padding()  # else each call changes the state that other threads read
    tokenizer.backend_tokenizer.no_truncation()


def processor_problems(folder: Path, cure: str) -> list[Problem]:
    """Processor files that the folder lacks; reads none but the small ones."""
    problems = []
    if not (folder / 'preprocessor_config.json').is_file() and \
            'image_processor' not in read_json(folder / 'processor_config.json'):
        problems.append(Problem(WHERE, f"'{folder}' has no preprocessor_config.json.", cure))
    if not (folder / 'tokenizer.json').is_file() and \
            not all((folder / name).is_file() for name in ('vocab.json', 'merges.txt')):
        problems.append(Problem(WHERE, f"'{folder}' has no tokenizer.json.", cure))
    return problems


def has_template(folder: Path) -> bool:
    """Whether the folder brings a chat template."""
    files = ('tokenizer_config.json', 'processor_config.json', 'chat_template.json')
    return (folder / 'chat_template.jinja').is_file() or any('chat_template' in read_json(folder / name) for name in files)
