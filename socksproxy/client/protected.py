"""
A connection on which a security layer was agreed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.logger import Logger
from zope.interface import directlyProvides, providedBy

from socksproxy.interfaces import ISecurityLayer

__all__ = ["ProtectedTransport"]

log = Logger()

MESSAGE = 1 << 14
"""
Bytes that are protected at a time.
"""


class ProtectedTransport:
    """
    Protects what is written.  All else is the transport's own.
    """

    def __init__(self, transport: Any, layer: ISecurityLayer) -> None:
        directlyProvides(self, providedBy(transport))
        self._transport = transport
        self._layer = layer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """
        As in L{ITransport.write}.
        """
        try:
            messages = [
                self._layer.wrap(data[start : start + MESSAGE])
                for start in range(0, len(data), MESSAGE)
            ]
        except Exception:
            log.failure("What {peer} is sent cannot be protected.", peer=self.getPeer())
            self._transport.abortConnection()
            return
        for message in messages:
            self._transport.write(message)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        As in L{ITransport.writeSequence}.
        """
        self.write(b"".join(data))
