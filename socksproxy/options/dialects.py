"""
Which protocols the port speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from socksproxy.interfaces import IDialectFactory
from socksproxy.options.named import named
from socksproxy.server.dialects import HTTP, SOCKS4, SOCKS5

__all__ = ["DialectOptions", "dialects"]

PROTOCOLS: dict[str, IDialectFactory] = {
    "socks5": SOCKS5(),
    "socks4": SOCKS4(),
    "http": HTTP(),
}


def dialects(text: str) -> Sequence[IDialectFactory]:
    """
    Those that are named, in this order of preference.
    """
    names = text.split(",")
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown:
        known = ", ".join(PROTOCOLS)
        raise ValueError(f"{unknown[0]!r} is not one of {known}")
    return tuple(known for name, known in PROTOCOLS.items() if name in names)


@named
class DialectOptions:
    """
    The options for it.
    """

    optFlags: ClassVar[list[Any]] = [
        [
            "no-resolve",
            None,
            "Answer RESOLVE and RESOLVE_PTR with reply 07, command not supported.",
        ],
    ]
    optParameters: ClassVar[list[Any]] = [
        [
            "protocols",
            None,
            None,
            "What is spoken with clients, some of socks5, socks4 and http, with commas "
            "between them [default: socks5,socks4,http].",
            dialects,
        ],
    ]
