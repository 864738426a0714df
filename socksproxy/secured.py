"""
A connection behind a security layer, be it a client's or one to a proxy.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from socksproxy.errors import RemoteProtocolError
from socksproxy.interfaces import ISecurityLayer
from socksproxy.wire.buffer import ReceiveBuffer

__all__ = ["SecuredTransport"]

log = Logger()

MESSAGE = 1 << 15
"""
Bytes that are wrapped at a time: a frame has a length of two octets, and whoever
receives one has to wait until all of it has come.
"""


class SecuredTransport:
    """
    A transport of which everything but L{write} and L{writeSequence} is that of
    the transport below, its interfaces too: what is written is wrapped first.
    What is received is put through L{unwrap} by whoever receives it.

    @ivar layer: for what travels beside the connection.
    """

    def __init__(self, transport: Any, layer: ISecurityLayer) -> None:
        self.layer = layer
        self._transport = transport
        self._received = ReceiveBuffer()
        self._isBroken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    @property
    def isTorn(self) -> bool:
        """
        Whether an end would be one in the middle of a message: then somebody
        else may have cut the connection.
        """
        return bool(self._received)

    def write(self, data: bytes) -> None:
        try:
            messages = [
                self.layer.wrap(data[at : at + MESSAGE])
                for at in range(0, len(data), MESSAGE)
            ]
        except Exception:
            log.failure("What {peer} is sent cannot be protected.", peer=self.getPeer())
            self._transport.abortConnection()
            return
        for message in messages:
            self._transport.write(message)

    def writeSequence(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    def unwrap(self, data: bytes) -> bytes:
        """
        @return: what was in the messages that are whole now; may be empty.
        @raise RemoteProtocolError: one is not protected as it should be.  It is
            raised once: nothing that follows can be trusted, and is dropped.
        """
        if self._isBroken:
            return b""
        received = self._received
        pieces = []
        try:
            received.feed(data)
            while received:
                piece = self.layer.unwrap(received)
                if piece is None:
                    break
                pieces.append(piece)
        except RemoteProtocolError:
            self._isBroken = True
            received.takeAll()
            raise
        return b"".join(pieces)
