"""Values of a file in a message: cut where they are long, deep or of thousands of digits."""

from __future__ import annotations

from reprlib import Repr

_MANY_BITS = 200


class _Shown(Repr):
    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write a number of more than 4,300 digits."""
        return super().repr_int(x, level) if x.bit_length() < _MANY_BITS else f'<a number of {x.bit_length()} bits>'


_repr = _Shown()
_repr.maxstring = _repr.maxother = 80
_repr.maxlong = 60


def shown(value: object) -> str:
    """The value as Python writes it, as far as a message can hold it."""
    return _repr.repr(value)
