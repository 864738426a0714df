"""
What L{socksproxy.relay.relay} promises, kept for a client over TLS.

TLS ends both ways at once, as far as Twisted is concerned: what a client's own end
cuts off is not promised here.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import os
import random
import socket
import ssl
from typing import Any
from unittest import skipIf

from twisted.internet.protocol import Factory

from socksproxy.relay.idle import IdleWatch
from socksproxy.relay.relay import ProtocolRelay
from socksproxy.test.relaysuite import ClientProtocol, Peer, RelaySuite, reactor
from socksproxy.test.test_auth_certificate import noTLS

if not noTLS:
    from twisted.protocols.tls import TLSMemoryBIOFactory

    from socksproxy.test.authority import Authority
    from socksproxy.tls import tlsFromString


class TLSPeer(Peer):
    """
    The far end of a connection with TLS.  What it does before the handshake is done
    is done then.

    @ivar isPatient: whether its end waits for the other side's, which would be cut
        off otherwise.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname="127.0.0.1"
        )
        self._unsent = b""
        self._isSecure = False
        self._first: list[bytes | None] = []
        self.isPatient = False
        self._isToEnd = False

    def secure(self, server: Any) -> None:
        """
        Do the handshake.

        @param server: the transport of the other end, in this process.
        """
        while not self._isSecure and not self.wasReset:
            try:
                self._tls.do_handshake()
                self._isSecure = True
            except ssl.SSLWantReadError:
                pass
            self._flush()
            server.doRead()
            server.doWrite()
            self._fill(1 << 16)
        for data in self._first if self._isSecure else ():
            if data is None:
                self.end()
            else:
                self.send(data)

    def send(self, data: bytes | memoryview) -> int:
        if not self._isSecure:
            self._first.append(bytes(data))
            return len(data)
        self._flush()
        if self._unsent or self.wasReset:
            return 0
        try:
            sent = self._tls.write(data)
        except ssl.SSLError:
            sent = 0  # This side has ended.
        self._flush()
        return sent

    def read(self, count: int = 1 << 20) -> None:
        if self.isOver() or not self._isSecure:
            return
        self._fill(count)
        try:
            while not self.ended:
                data = self._tls.read(1 << 16)
                self.received += data
                self.ended = not data
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        if self.ended and self._isToEnd:
            self.end()

    def end(self) -> None:
        if not self._isSecure:
            self._first.append(None)
            return
        if self.isPatient and not self.ended:
            self._isToEnd = True
            return
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # The answer has not come yet.
        self._flushAll()

    def _fill(self, count: int) -> None:
        """
        Take what has come; an end without the alert of TLS is as good as a reset.
        """
        try:
            data = self.socket.recv(count)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._incoming.write(data)
        self.wasReset = not data

    def _flush(self) -> None:
        self._unsent += self._outgoing.read()
        try:
            if self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.wasReset = True
            self._unsent = b""

    def _flushAll(self) -> None:
        self._flush()
        if self._unsent:
            reactor.callLater(0, self._flushAll)


@skipIf(noTLS, noTLS)
class TLSRelayTests(RelaySuite):
    """
    L{ProtocolRelay} keeps what TLS lets it keep.
    """

    seeds = "0:300"
    files: tuple[Any, ssl.SSLContext] | None = None

    def setUp(self) -> None:
        if self.files is None:
            directory = self.mktemp()
            os.makedirs(directory)
            authority = Authority(directory)
            description = f"tls:0:privateKey={authority.server()}"
            endpoint = tlsFromString(reactor, description)
            self.files = endpoint, authority.context()
        super().setUp()

    def clientPeer(self, sock: socket.socket) -> Peer:
        assert self.files is not None
        return TLSPeer(sock, self.files[1])

    def start(self, early: bytes = b"") -> None:
        super().start(early)
        self.assertIsInstance(self.relay, ProtocolRelay)

    def begin(self, sock: socket.socket, protocol: Any) -> Any:
        """
        The client's connection has TLS.
        """
        if not isinstance(protocol, ClientProtocol):
            return super().begin(sock, protocol)
        assert self.files is not None and isinstance(self.client, TLSPeer)
        factory = Factory.forProtocol(lambda: protocol)
        secured = TLSMemoryBIOFactory(self.files[0], False, factory, clock=reactor)
        server: Any = secured.buildProtocol(None)
        super().begin(sock, server)
        self.client.secure(server.transport)
        return protocol

    async def test_halfClose(self) -> None:
        """
        The target's end reaches the client, which can go on until its own; that one
        ends all.
        """
        self.start()
        self.target.send(b"question")
        self.target.end()
        await self.arrives(self.client, b"question")
        await self.ends(self.client)
        for _ in range(3):
            self.client.send(b"answer")
            await self.arrives(self.target, b"answer")
        self.assertEqual(self.reasons, [])
        self.client.end()
        await self.ends(self.target)
        await self.finishes("closed")

    async def test_clientEnds(self) -> None:
        """
        All that the client sent before its end arrives, and both sides end.
        """
        self.start()
        self.client.send(b"question")
        self.client.end()
        await self.arrives(self.target, b"question")
        await self.ends(self.target)
        await self.ends(self.client)
        self.target.end()
        await self.finishes("closed")

    async def test_cutOff(self) -> None:
        """
        The end of a connection without that of TLS may be anybody's doing: it is
        passed on as a reset.
        """
        self.start()
        self.client.send(b"half a quest")
        await self.arrives(self.target, b"half a quest")
        self.client.socket.close()
        await self.resets(self.target)
        await self.finishes("reset by the client")

    async def test_bothEndAtOnce(self) -> None:
        """
        Both sides may end at the same time.
        """
        self.start()
        self.client.send(b"bye")
        self.client.end()
        self.target.end()
        await self.arrives(self.target, b"bye")
        await self.ends(self.client)
        await self.ends(self.target)
        await self.finishes("closed")

    async def test_halfClosedTimeout(self) -> None:
        """
        A relay of which the target has ended is ended after its own timeout.
        """
        self.watch = IdleWatch(self.clock, 0, 80)
        self.start()
        self.clock.pump([10] * 20)
        self.target.end()
        await self.ends(self.client)
        self.clock.pump([10] * 7)
        self.client.send(b"still here")
        await self.arrives(self.target, b"still here")
        self.clock.pump([10] * 7)
        self.assertEqual(self.reasons, [])
        self.clock.pump([10] * 3)
        await self.finishes("half-closed for too long")

    def ways(self) -> tuple[tuple[Peer, Peer], tuple[Peer, Peer]]:
        """
        TLS knows no urgent data: that comes from the target only.
        """
        one, other = super().ways()
        return (other, other) if "urgent" in self.id() else (one, other)

    async def oneSequence(self, chance: random.Random) -> None:
        assert isinstance(self.client, TLSPeer)
        self.client.isPatient = True
        await super().oneSequence(chance)


# It is there to be subclassed.
del RelaySuite
