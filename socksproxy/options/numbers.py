"""
Numbers on the command line.  What is none is said in words for who wrote it.
"""

from __future__ import annotations

__all__ = ["count", "seconds"]


def seconds(text: str) -> float:
    """
    A number of seconds, perhaps with a fraction.
    """
    try:
        number = float(text)
    except ValueError:
        number = -1
    if 0 <= number < float("inf"):
        return number
    raise ValueError(f"{text!r} is not a number of seconds, 0 or more")


def count(text: str) -> int:
    """
    How many of something.
    """
    if text.isascii() and text.isdigit():
        return int(text)
    raise ValueError(f"{text!r} is not a number, 0 or more")
