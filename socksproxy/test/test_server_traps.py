"""
The traps of a server around its relay, each with a test of its own: a real
server on the running reactor.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from socksproxy.interfaces import IConnector, ISession, Request
from socksproxy.outbound.direct import DirectConnector
from socksproxy.relay.hub import Hub
from socksproxy.relay.relay import ProtocolRelay
from socksproxy.relay.splice import COPY, ROUNDS, SpliceRelay
from socksproxy.server.factory import Limits, SOCKS5Factory
from socksproxy.server.session import Session
from socksproxy.service import SOCKS5Service
from socksproxy.test.relaysuite import Peer, PeerTestCase, emptyPool, reactor

GREETING = b"\x05\x01\x00"
SELECTION = b"\x05\x00"
REPLY = 10
"""
Bytes of a reply with an IPv4 address.
"""


@implementer(IConnector)
class Waits:
    """
    Connects when it is told to.
    """

    def __init__(self) -> None:
        self._direct = DirectConnector(reactor, hub=Hub.of(reactor))
        self.told: Deferred[None] = Deferred()
        self.sessions: list[Any] = []

    def connect(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        self.sessions.append(session)
        connected: Deferred[IProtocol] = Deferred()
        self._direct.connect(request, session, protocolFactory).chainDeferred(connected)
        return self.told.addCallback(lambda _: connected)


class ServerTrapTests(PeerTestCase):
    """
    A proxy, its clients and its targets.
    """

    def setUp(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.listening.setblocking(False)
        self.addCleanup(self.listening.close)

    async def serve(self, **kwargs: Any) -> Any:
        """
        @return: the listening port.
        """
        self.factory = SOCKS5Factory(reactor, **kwargs)
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        service = SOCKS5Service(self.factory, [endpoint], grace=0)
        service.startService()
        self.addCleanup(service.stopService)
        await deferLater(reactor, 0)
        return service.ports[0]

    def connect(self, port: Any, connecting: socket.socket | None = None) -> Peer:
        """
        A new client.
        """
        connecting = connecting or socket.socket()
        self.addCleanup(connecting.close)
        connecting.setblocking(False)
        connecting.connect_ex(("127.0.0.1", port.getHost().port))
        return Peer(connecting)

    def request(self) -> bytes:
        """
        For the target.
        """
        number = struct.pack("!H", self.listening.getsockname()[1])
        return b"\x05\x01\x00\x01\x7f\x00\x00\x01" + number

    async def accept(self) -> Peer:
        """
        A connection to the target.
        """
        accepted: list[socket.socket] = []

        def comes() -> bool:
            try:
                accepted.append(self.listening.accept()[0])
            except BlockingIOError:
                return False
            return True

        await self.until(comes)
        self.addCleanup(accepted[0].close)
        accepted[0].setblocking(False)
        return Peer(accepted[0])

    async def takes(self, peer: Peer, count: int) -> bytes:
        """
        The next C{count} bytes that C{peer} gets.
        """

        def complete() -> bool:
            peer.read()
            return len(peer.received) >= count or peer.isOver()

        await self.until(complete)
        taken = bytes(peer.received[:count])
        del peer.received[:count]
        return taken

    async def session(self, port: Any, early: bytes = b"") -> tuple[Peer, Peer]:
        """
        A client and its target, connected.
        """
        client = self.connect(port)
        await self.until(lambda: bool(client.send(GREETING)))
        self.assertEqual(await self.takes(client, 2), SELECTION)
        client.send(self.request() + early)
        target = await self.accept()
        reply = await self.takes(client, REPLY)
        self.assertEqual(reply[:2], b"\x05\x00")
        return client, target

    def relaying(self) -> list[Session]:
        """
        The sessions that have a relay.
        """
        return [one for one in self.factory.admission if hasattr(one, "_relay")]

    async def test_noDelay(self) -> None:
        """
        Neither connection of a session waits for an acknowledgement before it
        sends a small segment.
        """
        port = await self.serve()
        await self.session(port)
        [session] = self.relaying()
        relay = session._relay
        assert isinstance(relay, SpliceRelay)
        for leg in (relay._client, relay._target):
            sock = leg.transport.socket
            self.assertTrue(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    async def test_earlyDataFirst(self) -> None:
        """
        What a client sends before it is answered comes before what it sends
        afterwards.
        """
        port = await self.serve()
        early = os.urandom(20000)
        client, target = await self.session(port, early)
        later = os.urandom(3 * COPY)
        client.send(later)
        self.assertEqual(await self.takes(target, len(early + later)), early + later)

    async def test_replyFirst(self) -> None:
        """
        A reply that the client's socket has no room for, so that the transport
        keeps it, is out before anything that the target says.
        """
        connector = Waits()
        port = await self.serve(connector=connector)
        client = self.connect(port)
        await self.until(lambda: bool(client.send(GREETING)))
        self.assertEqual(await self.takes(client, 2), SELECTION)
        client.send(self.request())
        target = await self.accept()
        target.send(b"the target's first words")
        await self.until(lambda: bool(connector.sessions))
        [session] = connector.sessions
        full = 0
        while True:
            try:
                full += session.transport.socket.send(bytes(1 << 16))
            except BlockingIOError:
                break
        connector.told.callback(None)
        await self.until(lambda: hasattr(session, "_relay"))
        self.assertIsInstance(session._relay, ProtocolRelay)
        for _ in range(10):
            await deferLater(reactor, 0)
        self.assertEqual(await self.takes(client, full), bytes(full))
        self.assertEqual((await self.takes(client, REPLY))[:2], b"\x05\x00")
        self.assertEqual(await self.takes(client, 24), b"the target's first words")

    async def test_floodAndHandshakes(self) -> None:
        """
        While one session is flooded without an end others get through their
        handshakes.
        """
        port = await self.serve()
        client, target = await self.session(port)
        splice = os.splice
        rounds = most = 0

        def endless(come: int, go: int, count: int, flags: int) -> int:
            nonlocal rounds
            rounds += 1
            if rounds > 100 * ROUNDS:
                raise AssertionError("nobody else has had a turn")
            target.read()
            target.received.clear()
            moved = splice(come, go, count, flags=flags)
            while client.send(bytes(1 << 18)):
                pass
            return moved

        self.patch(os, "splice", endless)
        client.send(bytes(1 << 20))
        await self.until(lambda: bool(rounds))
        for _ in range(10):
            other = self.connect(port)
            for say, count in ((GREETING, 2), (self.request(), REPLY)):
                await self.until(lambda: bool(other.send(say)))  # noqa: B023
                while len(other.received) < count:
                    self.assertFalse(other.isOver())
                    rounds, most = 0, max(rounds, most)
                    await deferLater(reactor, 0)
                    target.read()
                    target.received.clear()
                    other.read()
                other.received.clear()
        self.assertGreater(most, 0, "there was no flood")

    async def test_descriptorsExhausted(self) -> None:
        """
        With descriptors exhausted the listener pauses and says so once; who is
        served is served on, nothing spins, and when there are some again new
        clients are let in.
        """
        emptyPool()
        crowd = [socket.socket() for _ in range(100)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limits = resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 60, hard)
        resource.setrlimit(*limits)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        events: list[LogEvent] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        clock = Clock()
        port = await self.serve(clock=clock, limits=Limits(handshakeTimeout=0))
        client, target = await self.session(port)
        accepts = 0
        doRead = port.doRead

        def counted() -> None:
            nonlocal accepts
            accepts += 1
            doRead()

        port.doRead = counted
        clients = [self.connect(port, one) for one in crowd]
        await self.until(lambda: self.factory.admission._isPaused)
        accepts = 0
        for number in range(100):
            for one, other in ((client, target), (target, client)):
                one.send(bytes((number,)))
                await self.arrives(other, bytes((number,)))
            clock.advance(0.5)
        self.assertEqual(accepts, 0)
        for one in clients:
            one.read()
            self.assertFalse(one.isOver(), "a client that waited was dropped")
        warnings = [e["log_format"] for e in events if e["log_level"] is LogLevel.warn]
        self.assertEqual([w[:21] for w in warnings], ["Descriptors run short"])
        for one in clients:
            one.socket.close()
        await self.until(lambda: len(self.factory.admission) == 1)
        clock.advance(1)
        another, _ = await self.session(port)
        self.assertFalse(another.isOver())

    async def test_slowReaderOfHTTP(self) -> None:
        """
        What the system has not sent yet when a client's time for the last answer is
        over is sent all the same.
        """
        port = await self.serve(limits=Limits(closeTimeout=0.05))
        connecting = socket.socket()
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
        client = self.connect(port, connecting)
        head = b"GET http://127.0.0.1:%d/ HTTP/1.0\r\n\r\n"
        request = head % self.listening.getsockname()[1]
        await self.until(lambda: bool(client.send(request)))
        target = await self.accept()

        def isAsked() -> bool:
            target.read()
            return target.received.endswith(b"\r\n\r\n")

        await self.until(isAsked)
        response = b"HTTP/1.0 200 OK\r\n\r\n" + bytes(200_000)
        view = memoryview(response)
        while view:
            view = view[target.send(view) :]
            await deferLater(reactor, 0)
        target.end()
        await deferLater(reactor, 0.3)
        await self.ends(client)
        self.assertTrue(client.received.endswith(b"\r\n\r\n" + bytes(200_000)))


if Hub.of(reactor) is None:
    ServerTrapTests.skip = "there are no hubs here"
