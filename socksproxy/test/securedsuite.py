"""
A security layer of a few lines, and the promises of all relays when the client
has one.
"""

from __future__ import annotations

import socket
from typing import Any

from zope.interface import implementer

from socksproxy.errors import RemoteProtocolError
from socksproxy.interfaces import ISecurityLayer
from socksproxy.relay.relay import ProtocolRelay
from socksproxy.secured import SecuredTransport
from socksproxy.test.relaysuite import ClientProtocol, Peer, RelaySuite, reactor
from socksproxy.wire.buffer import ReceiveBuffer

MASK = bytes(byte ^ 0x5A for byte in range(256))

PIECE = 1 << 15


@implementer(ISecurityLayer)
class MaskLayer:
    """
    Protects from a glance: a length of two bytes, a mark and a mask.  The mark
    is what is missing where a message is none.
    """

    mark = b"\xa5"

    def wrap(self, data: bytes) -> bytes:
        masked = self.mark + data.translate(MASK)
        return len(masked).to_bytes(2, "big") + masked

    def unwrap(self, received: ReceiveBuffer) -> bytes | None:
        size = received.peek(2)
        if size is None:
            return None
        message = received.peek(2 + int.from_bytes(size, "big"))
        if message is None:
            return None
        if message[2:3] != self.mark:
            raise RemoteProtocolError("the mark is missing")
        received.take(len(message))
        return message[3:].translate(MASK)

    def wrapDatagram(self, datagram: bytes) -> bytes:
        if len(datagram) > 0xFFFE:
            raise ValueError("too long")
        return self.wrap(datagram)

    def unwrapDatagram(self, datagram: bytes) -> bytes:
        received = ReceiveBuffer(datagram)
        data = self.unwrap(received)
        if data is None or received:
            raise RemoteProtocolError("this is not one message")
        return data


class SecuredPeer(Peer):
    """
    A client behind a layer.  What the kernel does not take of a message waits
    here, since one that is cut short would not be a message.
    """

    def __init__(self, sock: socket.socket, layer: ISecurityLayer) -> None:
        super().__init__(sock)
        self._layer = layer
        self._buffer = ReceiveBuffer()
        self._waiting = b""
        self._isEnding = False

    def send(self, data: bytes | memoryview) -> int:
        """
        @return: how many bytes were taken, all of them or a few messages.
        """
        sent = 0
        while not self._waiting and sent < len(data):
            piece = bytes(data[sent : sent + PIECE])
            self._waiting = self._layer.wrap(piece)
            sent += len(piece)
            self._flush()
        return sent

    def _flush(self) -> None:
        if self.socket.fileno() == -1:
            return
        self._waiting = self._waiting[super().send(self._waiting) :]
        if self._waiting and not self.wasReset:
            reactor.callLater(0, self._flush)
        elif self._isEnding:
            super().end()

    def end(self) -> None:
        self._isEnding = True
        if not self._waiting:
            super().end()

    def read(self, count: int = 1 << 20) -> None:
        before = len(self.received)
        super().read(min(count, 1 << 16))
        self._buffer.feed(bytes(self.received[before:]))
        del self.received[before:]
        while self._buffer:
            data = self._layer.unwrap(self._buffer)
            if data is None:
                break
            self.received += data
        if self.ended and self._buffer:
            raise AssertionError("the last message is cut short")


class SecuredProtocol(ClientProtocol):
    """
    Hands on what was in the messages, as a session does.
    """

    def __init__(self, layer: ISecurityLayer) -> None:
        self._layer = layer

    def connectionMade(self) -> None:
        self.transport: Any = SecuredTransport(self.transport, self._layer)

    def dataReceived(self, data: bytes) -> None:
        data = self.transport.unwrap(data)
        if data:
            super().dataReceived(data)


class SecuredRelaySuite(RelaySuite):
    """
    With a security layer all is as without.
    """

    def layers(self) -> tuple[ISecurityLayer, ISecurityLayer]:
        """
        The client's and the proxy's, for one connection.
        """
        raise NotImplementedError

    def clientPeer(self, sock: socket.socket) -> Peer:
        layer, self._layer = self.layers()
        return SecuredPeer(sock, layer)

    def clientProtocol(self) -> SecuredProtocol:
        return SecuredProtocol(self._layer)

    def start(self, early: bytes = b"") -> None:
        super().start(early)
        self.assertIsInstance(self.relay, ProtocolRelay)

    async def test_urgentData(self) -> None:
        """
        The target's urgent data does not stop the stream.  The client's would be
        outside of its messages.
        """
        self.start()
        self.target.send(b"before")
        self.target.socket.send(b"!", socket.MSG_OOB)
        self.target.send(b"after")

        def complete() -> bool:
            self.client.read()
            return self.client.received.endswith(b"after")

        await self.until(complete)
        received = bytes(self.client.received)
        self.assertIn(received, (b"beforeafter", b"before!after"))


# It is there to be subclassed.
del RelaySuite
