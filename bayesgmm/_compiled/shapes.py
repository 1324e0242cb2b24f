"""Shape checks of arrays, in Python and in compiled code.

A `Signature` names arrays and their axes, as in ``"weights (k), means (k,d)"``: lengths under one letter are equal
and at least one, but for n, the number of rows, which may be zero.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from numba import njit

from bayesgmm.exceptions import InputError

type Shape = Sequence[int | None]  # None: not known yet

_ROWS = "n"


class ShapeError(InputError):
    """Arrays whose shapes do not agree.

    Parameters
    ----------
    signature : str
    lengths : tuple of int
        All axes of all arrays, one after the other, as compiled code hands them over.
    """

    __module__ = "bayesgmm._compiled"

    def __init__(self, signature: str, lengths: Sequence[int]) -> None:
        rest, shapes = list(lengths), []
        for _, letters in _parsed(signature):
            shapes.append(rest[: len(letters)])
            del rest[: len(letters)]
        super().__init__(**_told(signature, shapes))


class Signature:
    """Names and axes of the arrays that an entry of compiled code takes.

    Parameters
    ----------
    text : str

    Examples
    --------
    >>> Signature("means (k,d), sds (d)").check((2, 5), (3,))
    Traceback (most recent call last):
        ...
    bayesgmm.exceptions.InputError: Expected shapes that agree, means (k,d), sds (d); got means (2,5), sds (3).
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.parts = _parsed(text)

    def check(self, *shapes: Shape) -> None:
        """Raise `InputError` unless the shapes agree; what is not known passes."""
        known: dict[str, int] = {}
        agree = True
        for shape, (_, letters) in zip(shapes, self.parts, strict=True):
            agree = agree and len(shape) == len(letters)
            for letter, length in zip(letters, shape, strict=False):
                if length is not None:
                    agree = agree and known.setdefault(letter, length) == length >= (letter != _ROWS)
        if not agree:
            raise InputError(**_told(self.text, shapes))

    @cached_property
    def compiled(self) -> Any:  # a numba Dispatcher
        """The same check inside compiled code, of the shapes joined into one tuple."""
        text, letters = self.text, [letter for _, letters in self.parts for letter in letters]
        first = tuple(letters.index(letter) for letter in letters)
        least = tuple(int(letter != _ROWS) for letter in letters)

        @njit
        def check(lengths):  # type: ignore[no-untyped-def]
            for i in range(len(lengths)):
                if lengths[i] != lengths[first[i]] or lengths[i] < least[i]:
                    raise ShapeError(text, lengths)

        return check


def _parsed(signature: str) -> list[tuple[str, tuple[str, ...]]]:
    found = re.findall(r"(\w[\w ]*) \(([\w,]*)\)", signature)
    return [(name, tuple(letters.split(",")) if letters else ()) for name, letters in found]


def _told(signature: str, shapes: Sequence[Shape]) -> dict[str, str]:
    named = zip(_parsed(signature), shapes, strict=True)
    got = ", ".join(f"{name} ({','.join('?' if n is None else str(n) for n in shape)})" for (name, _), shape in named)
    return {"expected": f"shapes that agree, {signature}", "got": got}
