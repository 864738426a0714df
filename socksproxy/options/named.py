"""
Options with a value, for C{usage.Options}: when it is wrong they say which they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from twisted.python import usage

__all__ = ["named"]

_T = TypeVar("_T", bound=type[Any])


def named(options: _T) -> _T:
    """
    A decorator for classes with C{optParameters}: each will tell its name before
    what its coercion says of a bad value.
    """
    options.optParameters = [
        [*row[:4], *(partial(_coerced, row[0], coerce) for coerce in row[4:])]
        for row in options.optParameters
    ]
    return options


def _coerced(name: str, coerce: Callable[[str], Any], text: str) -> Any:
    try:
        return coerce(text)
    except ValueError as wrong:
        raise usage.UsageError(f"--{name}: {wrong}") from None
