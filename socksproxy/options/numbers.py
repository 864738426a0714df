"""
Numbers on the command line.  What is none is said in words for who wrote it.
"""

from __future__ import annotations

import re

from socksproxy.outbound.reachable import PortRange

__all__ = ["count", "portNumber", "portRange", "positive", "seconds"]


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


def positive(text: str) -> int:
    """
    How many of something that there must be.
    """
    if text.isascii() and text.isdigit() and int(text):
        return int(text)
    raise ValueError(f"{text!r} is not a number, 1 or more")


def portNumber(text: str) -> int:
    """
    A port; 0 is one that the system chooses.
    """
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise ValueError(f"{text!r} is not a port number, 0 to 65535")


def portRange(text: str) -> PortRange:
    """
    Ports from one to another.
    """
    found = re.fullmatch(r"(\d+)-(\d+)", text, re.ASCII)
    if found is not None and 0 < int(found[1]) <= int(found[2]) <= 65535:
        return PortRange(int(found[1]), int(found[2]))
    raise ValueError(f"{text!r} is not a range of ports, as in 40000-40999")
