"""The arguments that every backbone takes: what is wrong with them, said before anything is loaded."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from typing import Any

import torch

from coinkit.errors import ConfigError, Problem, unknown

DTYPES = {'bfloat16': torch.bfloat16, 'float32': torch.float32}
ATTENTION = ('auto', 'sdpa', 'eager', 'flash_attention_2')
QUANTIZATIONS = ('4bit', '8bit')
DEVICES = ('auto', 'cpu', 'cuda', 'meta')
LENGTHS = ('max_length', 'max_txt_len')
MAX_LENGTH = 2048  # of a row, as the published recipes have it


def choice_problems(given: Mapping[str, Any], **allowed: Any) -> list[Problem]:
    """A problem for each argument that is none of its allowed names, and for all common arguments that cannot be used.

    `given` may lack arguments: what is not there has its default, and an absent device is not known yet.
    """
    allowed = {'dtype': DTYPES, 'attn': ATTENTION, 'quantization': QUANTIZATIONS, **allowed}
    wrong = [unknown(f'backbone.{key}', key, given[key], names)
             for key, names in allowed.items() if given.get(key) is not None and given[key] not in names]
    return [*wrong, *_length_problems(given), *_device_problems(given.get('device')), *_flash_problems(given),
            *_quantization_problems(given.get('quantization'), given.get('init_seed')),
            *_pattern_problems(given.get('key_mapping'))]


def row_length(max_length: int | None, context: int | None) -> int:
    """Where training rows are cut: as given, else MAX_LENGTH or the model's context where that is shorter."""
    if max_length is None:
        return min(MAX_LENGTH, context or MAX_LENGTH)
    if context is not None and max_length > context:
        raise ConfigError(Problem('backbone.max_length', f'{max_length} given; the model reads at most {context} tokens.'))
    return max_length


def _length_problems(given: Mapping[str, Any]) -> list[Problem]:
    return [Problem(f'backbone.{key}', f'{given[key]!r} given, a whole number above 0 allowed.') for key in LENGTHS
            if given.get(key) is not None and (type(given[key]) is not int or given[key] < 1)]


def _device_problems(device: Any) -> list[Problem]:
    if device is None or device in DEVICES[:2] or device == 'meta':
        return []
    if not isinstance(device, str) or not re.fullmatch(r'cuda(:\d+)?', device):
        return [unknown('backbone.device', 'device', device, (*DEVICES, 'cuda:N'))]
    if not torch.cuda.is_available():
        return [Problem('backbone.device', f"'{device}' given; torch {torch.__version__} finds no GPU here.",
                        "Allowed here: 'auto', 'cpu', 'meta'.")]
    count, number = torch.cuda.device_count(), int(device.partition(':')[2] or 0)
    if number >= count:
        return [Problem('backbone.device', f"'{device}' given; there are {count} GPUs.",
                        f"Allowed: 'cuda:0' to 'cuda:{count - 1}'.")]
    return []


def _flash_problems(given: Mapping[str, Any]) -> list[Problem]:
    if given.get('attn') != 'flash_attention_2':
        return []
    device, dtype, lacks = given.get('device'), given.get('dtype') or 'bfloat16', []
    if importlib.util.find_spec('flash_attn') is None:
        lacks.append('the package flash-attn, which is not installed')
    if device == 'cpu' or (device == 'auto' and not torch.cuda.is_available()):
        lacks.append(f"a GPU, and device is '{device}'" + (', without a GPU here' if device == 'auto' else ''))
    if dtype != 'bfloat16':
        lacks.append(f"dtype 'bfloat16', and it is '{dtype}'")
    return [Problem('backbone.attn', f"'flash_attention_2' needs {'; '.join(lacks)}.",
                    "'auto' takes it wherever it works.")] if lacks else []


def _quantization_problems(quantization: str | None, seed: int | None) -> list[Problem]:
    found = []
    if quantization is not None and importlib.util.find_spec('bitsandbytes') is None:
        found.append(Problem('backbone.quantization', f"'{quantization}' needs bitsandbytes, which is not installed.",
                             "Install it with: pip install 'coinkit[quant]'."))
    if quantization is not None and seed is not None:
        found.append(Problem('backbone.init_seed', f"{seed} given beside quantization='{quantization}': random weights are "
                             'never quantised, a checkpoint is.', 'Leave one of the two out.'))
    return found


def _pattern_problems(mapping: Any) -> list[Problem]:
    where = 'backbone.key_mapping'
    if mapping is None:
        return []
    if not isinstance(mapping, Mapping) or not all(isinstance(one, str) for pair in mapping.items() for one in pair):
        return [Problem(where, f'{mapping!r} given, a dict of patterns to replacements allowed.')]
    found = []
    for pattern, replacement in mapping.items():
        try:
            re.compile(pattern).sub(replacement, '')
        except re.error as error:
            found.append(Problem(where, f'{pattern!r} to {replacement!r}: {error}.', 'Patterns are regular expressions.'))
    return found
