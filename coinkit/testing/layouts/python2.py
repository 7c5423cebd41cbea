"""Lists, dicts, numbers and texts as Python 2's cPickle wrote them in protocol 2: texts are byte strings.

Python 3 writes texts otherwise, so files of refs that are true to the originals need a writer of their own.
"""

from __future__ import annotations

import struct
from typing import Any


def pickled(value: Any) -> bytes:
    """The content of a .p file."""
    return b'\x80\x02' + _body(value) + b'.'


def _body(value: Any) -> bytes:
    match value:
        case None:
            return b'N'
        case bool():
            return b'\x88' if value else b'\x89'
        case int():
            return b'K' + bytes([value]) if 0 <= value < 256 else b'J' + struct.pack('<i', value)
        case float():
            return b'G' + struct.pack('>d', value)
        case str():
            text = value.encode()
            return (b'U' + bytes([len(text)]) if len(text) < 256 else b'T' + struct.pack('<i', len(text))) + text
        case list():
            return b'](' + b''.join(map(_body, value)) + b'e'
        case dict():
            return b'}(' + b''.join(_body(key) + _body(each) for key, each in value.items()) + b'u'
    raise TypeError(f'{type(value).__name__} is no plain value')
