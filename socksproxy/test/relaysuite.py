"""
What every relay promises, over real TCP connections: the tests of each relay
subclass these.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import resource
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from traceback import format_tb
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from socksproxy.hubconnection import HubConnection
from socksproxy.relay.choice import relayBetween
from socksproxy.relay.hub import Hub
from socksproxy.relay.idle import IdleWatch
from socksproxy.relay.relay import RelayEnd
from socksproxy.relay.splice import pipes

reactor: Any = _reactor

PATIENCE = 20.0
"""
Seconds after which something that should happen has not happened.
"""

RESET = struct.pack("ii", 1, 0)

SEEDS = "SOCKSPROXY_SEEDS"
"""
The environment variable for the random sequences that are tried: C{first:last},
without the last.
"""


def tcpPair() -> tuple[socket.socket, socket.socket]:
    """
    The two ends of a TCP connection on loopback.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        outer = socket.create_connection(listening.getsockname())
        inner, _ = listening.accept()
    outer.setblocking(False)
    return outer, inner


def renumbered(sock: socket.socket, number: int) -> socket.socket:
    """
    The same socket with a descriptor that must not be in use.
    """
    try:
        os.fstat(number)
    except OSError:
        os.dup2(sock.fileno(), number)
        sock.close()
        return socket.socket(fileno=number)
    raise AssertionError(f"descriptor {number} is in use")


def emptyPool() -> None:
    """
    Have the next pipe that is wanted be a new one.
    """
    while pipes._pipes:
        pipe = pipes.take()
        assert pipe is not None
        pipes.discard(pipe)


@contextmanager
def noDescriptors() -> Iterator[None]:
    """
    This process gets no new descriptor meanwhile.
    """
    emptyPool()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Peer:
    """
    The far end of one of a relay's connections.

    @ivar received: all bytes so far.
    @ivar ended: the EOF has come.
    @ivar wasReset: a reset has come.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.received = bytearray()
        self.ended = False
        self.wasReset = False

    def send(self, data: bytes | memoryview) -> int:
        """
        @return: how many bytes the kernel took.
        """
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self.wasReset = True
            return 0

    def read(self, count: int = 1 << 20) -> None:
        """
        Take what is there.
        """
        if self.isOver():
            return
        try:
            data = self.socket.recv(count)
        except BlockingIOError:
            return
        except OSError:
            self.wasReset = True
            return
        self.received += data
        self.ended = not data

    def readToTheEnd(self) -> bool:
        """
        Take what is there.

        @return: whether nothing more will come.
        """
        self.read()
        return self.isOver()

    def isOver(self) -> bool:
        """
        Nothing more will come.
        """
        return self.ended or self.wasReset

    def end(self) -> None:
        """
        Send the EOF.
        """
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.wasReset = True

    def reset(self) -> None:
        """
        Send a reset.
        """
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.close()


@implementer(IHalfCloseableProtocol)
class ClientProtocol(Protocol):
    """
    Hands on what its transport tells, as a session does.
    """

    relay: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.relay.client.dataReceived(data)

    def readConnectionLost(self) -> None:
        self.relay.client.readConnectionLost()

    def writeConnectionLost(self) -> None:
        self.relay.client.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.relay.client.connectionLost(reason)


class PeerTestCase(TestCase):
    """
    What happens to L{Peer}s while the reactor runs.
    """

    timeout = 120

    async def until(self, condition: Callable[[], bool]) -> None:
        """
        Wait for something to come true.
        """
        deadline = reactor.seconds() + PATIENCE
        while not condition():
            if reactor.seconds() > deadline:
                self.fail("what was waited for has not happened")
            await deferLater(reactor, 0)

    async def arrives(self, peer: Peer, data: bytes) -> None:
        """
        C{peer} gets exactly C{data}.
        """

        def complete() -> bool:
            peer.read()
            return len(peer.received) >= len(data)

        await self.until(complete)
        self.assertEqual(bytes(peer.received), data)
        peer.received.clear()

    async def ends(self, peer: Peer) -> None:
        """
        C{peer} gets the EOF.
        """
        await self.until(peer.readToTheEnd)
        self.assertFalse(peer.wasReset)

    async def resets(self, peer: Peer) -> None:
        """
        C{peer} gets a reset.
        """
        await self.until(peer.readToTheEnd)
        self.assertTrue(peer.wasReset)


class RelayTestCase(PeerTestCase):
    """
    A relay between C{self.client} and C{self.target}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.watch = IdleWatch(self.clock, 0, 0)
        self.relay: Any = None
        self.reasons: list[str] = []
        self.finished: Callable[[str], object] = self.reasons.append
        outerClient, self.innerClient = tcpPair()
        outerTarget, self.innerTarget = tcpPair()
        self.client, self.target = self.clientPeer(outerClient), Peer(outerTarget)

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.over()

    def hub(self) -> Hub | None:
        """
        The hub, for a relay that uses one.
        """
        return None

    def clientPeer(self, sock: socket.socket) -> Peer:
        """
        The far end of a client's connection.
        """
        return Peer(sock)

    def clientProtocol(self) -> Any:
        """
        What hands on what the client's transport tells, and has its C{relay}.
        """
        return ClientProtocol()

    def begin(self, sock: socket.socket, protocol: Any) -> Any:
        """
        A connection as sessions have it.
        """
        peer = ("127.0.0.1", 0)
        sock.setblocking(False)
        HubConnection(sock, protocol, reactor, Hub.of(reactor), peer).begin()
        return protocol

    def start(self, early: bytes = b"") -> None:
        """
        Let the relay begin.
        """
        client = self.begin(self.innerClient, self.clientProtocol())
        self.relay = client.relay = relayBetween(
            client.transport,
            early,
            False,
            self.begin(self.innerTarget, RelayEnd()),
            self.watch,
            self.finished,
            self.hub(),
        )
        self.relay.start()

    async def finishes(self, reason: str) -> None:
        """
        The relay says, once, that it is over.
        """
        await self.until(lambda: bool(self.reasons))
        self.assertEqual(self.reasons, [reason])

    async def over(self) -> None:
        """
        Leave nothing of this relay behind.
        """
        self.client.socket.close()
        self.target.socket.close()
        if self.relay is not None:
            self.relay.abort("the test is over")
            await self.until(lambda: bool(self.reasons))
        else:
            self.innerClient.close()
            self.innerTarget.close()

    async def renew(self) -> None:
        """
        Begin anew, with new connections.
        """
        await self.over()
        self.setUp()

    async def eachWay(self) -> AsyncIterator[tuple[Peer, Peer]]:
        """
        From, to: first one way, then the other with new connections.
        """
        yield self.client, self.target
        await self.renew()
        yield self.target, self.client

    def ways(self) -> tuple[tuple[Peer, Peer], tuple[Peer, Peer]]:
        """
        From, to: both ways.
        """
        return (self.client, self.target), (self.target, self.client)

    async def pour(self, source: Peer, sink: Peer, data: bytes) -> None:
        """
        Send C{data} while the other side reads it, then the EOF; all of it
        arrives.
        """
        view = memoryview(data)
        expected = hashlib.sha256(data).digest()
        received = hashlib.sha256()
        count = 0
        at = 0
        deadline = reactor.seconds() + 4 * PATIENCE
        while not sink.ended and reactor.seconds() < deadline:
            if at < len(data):
                at += source.send(view[at : at + (1 << 18)])
                if at == len(data):
                    source.end()
            sink.read()
            received.update(sink.received)
            count += len(sink.received)
            sink.received.clear()
            await deferLater(reactor, 0)
        self.assertEqual((count, received.digest()), (len(data), expected))


class RelaySuite(RelayTestCase):
    """
    The promises.

    @cvar seeds: the random sequences that are tried unless L{SEEDS} says others.
    """

    seeds = "0:2500"

    def test_keepAlive(self) -> None:
        """
        The system can be asked to look after both connections; one that is gone
        already is left alone.
        """
        self.start()
        for inner in (self.innerClient, self.innerTarget):
            self.assertFalse(self.isKeptAlive(inner))
        self.relay.keepAlive()
        for inner in (self.innerClient, self.innerTarget):
            self.assertTrue(self.isKeptAlive(inner))

    def isKeptAlive(self, inner: socket.socket) -> bool:
        return bool(inner.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    async def test_bothWays(self) -> None:
        """
        What one side sends the other receives, and it is counted.
        """
        self.start()
        self.client.send(b"ping")
        await self.arrives(self.target, b"ping")
        self.target.send(b"pong!")
        await self.arrives(self.client, b"pong!")
        self.assertEqual((self.relay.bytesSent, self.relay.bytesReceived), (4, 5))

    async def test_manyMessages(self) -> None:
        """
        Turn by turn, of all sizes around those of buffers.
        """
        self.start()
        for size in (1, 2, 1000, 16383, 16384, 16385, 65535, 65536, 65537, 200000):
            data = random.Random(size).randbytes(size)
            for source, sink in self.ways():
                at = 0
                while at < size:
                    at += source.send(memoryview(data)[at:])
                    sink.read()
                    await deferLater(reactor, 0)
                await self.arrives(sink, data)

    async def test_earlyData(self) -> None:
        """
        What had come before the relay started is delivered first.
        """
        self.client.send(b"three")
        self.start(early=b"one two ")
        await self.arrives(self.target, b"one two three")
        self.assertEqual(self.relay.bytesSent, 13)

    async def test_halfClose(self) -> None:
        """
        The EOF of one side reaches the other, and the other way goes on until
        its own EOF, which ends the relay.
        """
        async for source, sink in self.eachWay():
            self.start()
            source.send(b"question")
            source.end()
            await self.arrives(sink, b"question")
            await self.ends(sink)
            for _ in range(3):
                sink.send(b"answer")
                await self.arrives(source, b"answer")
            self.assertEqual(self.reasons, [])
            sink.end()
            await self.ends(source)
            await self.finishes("closed")

    async def test_everythingBeforeTheEnd(self) -> None:
        """
        All bytes that were sent before an EOF arrive before it.
        """
        data = random.Random(1).randbytes(20_000_000)
        async for source, sink in self.eachWay():
            self.start()
            await self.pour(source, sink, data)
            sink.end()
            await self.finishes("closed")

    async def test_endWithTheLastByte(self) -> None:
        """
        An EOF that comes together with bytes is not overlooked.
        """
        for size in (1, 16384, 65536, 100_000):
            data = bytes(size)
            async for source, sink in self.eachWay():
                source.send(data)
                source.end()
                self.start()
                await self.arrives(sink, data)
                await self.ends(sink)
            await self.renew()

    async def test_bothEndAtOnce(self) -> None:
        """
        Both sides may end at the same time.
        """
        self.start()
        self.client.send(b"bye")
        self.target.send(b"bye")
        self.client.end()
        self.target.end()
        await self.arrives(self.client, b"bye")
        await self.arrives(self.target, b"bye")
        await self.ends(self.client)
        await self.ends(self.target)
        await self.finishes("closed")

    async def test_endsBeforeItStarts(self) -> None:
        """
        Both may have ended before the relay starts.
        """
        self.client.end()
        self.target.end()
        self.start()
        await self.ends(self.client)
        await self.ends(self.target)
        await self.finishes("closed")

    async def test_reset(self) -> None:
        """
        A reset of one side reaches the other as a reset.
        """
        reasons = iter(("reset by the client", "reset by the target"))
        async for source, sink in self.eachWay():
            self.start()
            source.send(b"x")
            await self.arrives(sink, b"x")
            source.reset()
            await self.resets(sink)
            await self.finishes(next(reasons))

    async def test_resetAfterHalfClose(self) -> None:
        """
        So does one by the side that the other one has ended for.
        """
        async for source, sink in self.eachWay():
            self.start()
            sink.end()
            await self.ends(source)
            source.reset()
            await self.until(lambda: bool(self.reasons))

    async def test_resetBeforeItStarts(self) -> None:
        """
        A connection that was reset before the relay starts ends it.
        """
        async for source, sink in self.eachWay():
            source.reset()
            self.start()
            await self.resets(sink)
            await self.until(lambda: bool(self.reasons))

    async def test_stalledReader(self) -> None:
        """
        A side that does not read stops the one that writes: what is held for
        it is bounded; when it reads again all of it arrives.
        """
        async for source, sink in self.eachWay():
            self.start()
            sent = 0
            silent = 0
            while silent < 100:
                took = source.send(bytes(1 << 16))
                sent += took
                silent = 0 if took else silent + 1
                await deferLater(reactor, 0.001)
                self.assertLess(sent, 64 << 20)
            source.end()
            count = 0
            while not sink.ended:
                sink.read()
                count += len(sink.received)
                sink.received.clear()
                await deferLater(reactor, 0)
            self.assertEqual(count, sent)

    async def test_stalledAndGone(self) -> None:
        """
        A reader that stalls and then leaves takes the writer with it.
        """
        async for source, sink in self.eachWay():
            self.start()
            for _ in range(300):
                source.send(bytes(1 << 16))
                await deferLater(reactor, 0)
            sink.reset()
            await self.resets(source)
            await self.until(lambda: bool(self.reasons))

    async def test_abort(self) -> None:
        """
        A relay can be ended: both sides get a reset.
        """
        self.start()
        self.relay.abort("because")
        await self.resets(self.client)
        await self.resets(self.target)
        await self.finishes("because")
        self.relay.abort("again")
        self.assertEqual(self.reasons, ["because"])

    async def test_idle(self) -> None:
        """
        A relay is ended after the idle timeout; bytes either way put that off.
        """
        self.watch = IdleWatch(self.clock, 80, 0)
        self.start()
        for source, sink in self.ways():
            self.clock.pump([10] * 7)
            source.send(b"x")
            await self.arrives(sink, b"x")
        self.clock.pump([10] * 7)
        self.assertEqual(self.reasons, [])
        self.clock.pump([10] * 3)
        await self.finishes("idle for too long")

    async def test_halfClosedTimeout(self) -> None:
        """
        A relay of which one side has ended is ended after its own timeout.
        """
        self.watch = IdleWatch(self.clock, 0, 80)
        self.start()
        self.clock.pump([10] * 20)
        self.client.end()
        await self.ends(self.target)
        self.clock.pump([10] * 7)
        self.target.send(b"still here")
        await self.arrives(self.client, b"still here")
        self.clock.pump([10] * 7)
        self.assertEqual(self.reasons, [])
        self.clock.pump([10] * 3)
        await self.finishes("half-closed for too long")

    async def test_urgentData(self) -> None:
        """
        TCP urgent data does not stop the stream, and stays in its place.
        """
        self.start()
        for source, sink in self.ways():
            source.send(b"before")
            source.socket.send(b"!", socket.MSG_OOB)
            source.send(b"after")

            def complete() -> bool:
                sink.read()  # noqa: B023
                return sink.received.endswith(b"after")  # noqa: B023

            await self.until(complete)
            self.assertEqual(bytes(sink.received), b"before!after")
            sink.received.clear()

    async def test_noPipes(self) -> None:
        """
        Where there are no pipes to be had all bytes arrive all the same.
        """
        self.patch(pipes, "_most", 0)
        data = random.Random(2).randbytes(3_000_000)
        async for source, sink in self.eachWay():
            self.start()
            await self.pour(source, sink, data)
            sink.end()
            await self.finishes("closed")

    async def test_noDescriptors(self) -> None:
        """
        So they do where there are no descriptors, and a relay ends then as at
        any time.
        """
        data = random.Random(3).randbytes(3_000_000)
        async for source, sink in self.eachWay():
            self.start()
            # The reactor makes a pipe of its own as it starts.
            await deferLater(reactor, 0)
            with noDescriptors():
                refused = self.assertRaises(OSError, os.pipe)
                self.assertEqual(refused.errno, errno.EMFILE)
                await self.pour(source, sink, data)
                sink.end()
                await self.finishes("closed")

    async def test_numbersUsedAgain(self) -> None:
        """
        A relay that begins with the descriptors' numbers of one that has just
        ended gets nothing of what was meant for that one.
        """
        reasons, spare = self.reasons, (tcpPair(), tcpPair())

        def takeItsPlace(reason: str) -> None:
            reasons.append(reason)
            self.reasons = []
            self.finished = self.reasons.append
            self.client, self.target = self.clientPeer(spare[0][0]), Peer(spare[1][0])
            self.innerClient = renumbered(spare[0][1], numbers[0])
            self.innerTarget = renumbered(spare[1][1], numbers[1])
            self.start()

        self.finished = takeItsPlace
        self.start()
        for source, sink in self.ways():
            source.send(b"old")
            await self.arrives(sink, b"old")
        numbers = self.innerClient.fileno(), self.innerTarget.fileno()
        former = self.relay
        # Both at a time, so that there are events for both.
        self.client.reset()
        self.target.reset()
        await self.until(lambda: bool(reasons))
        self.assertIsNot(self.relay, former)
        for source, sink in self.ways():
            source.send(b"new")
            await self.arrives(sink, b"new")
        self.assertEqual(self.reasons, [])

    async def test_randomSequences(self) -> None:
        """
        Whatever the two sides do in whatever order, the relay delivers what a
        perfect one would.
        """
        first, last = map(int, os.environ.get(SEEDS, self.seeds).split(":"))
        for seed in range(first, last):
            try:
                await self.oneSequence(random.Random(seed))
            except Exception as failure:
                raise self.failureException(
                    f"{failure!r}: try again with {SEEDS}={seed}:{seed + 1}\n"
                    + "".join(format_tb(failure.__traceback__))
                ) from failure
            await self.renew()

    async def oneSequence(self, chance: random.Random) -> None:
        """
        Some turns of two peers that write, read, stall, end and reset, and a
        look at what they have received.
        """
        early = chance.choice((b"", b"", b"early", bytes(70000)))
        sent = {self.client: bytearray(early), self.target: bytearray()}
        ended: set[Peer] = set()
        startsAt = chance.choice((0, 0, chance.randrange(8)))
        for number in range(chance.randrange(2, 30)):
            if number == startsAt:
                self.start(early)
            source, sink = self.ways()[chance.randrange(2)]
            act = chance.randrange(12)
            if act < 5 and source not in ended:
                size = chance.choice((1, 64, 1000, 16384, 16385, 70000, 300000))
                data = chance.randbytes(size)
                sent[source] += data[: source.send(data)]
            elif act < 8:
                source.read(chance.choice((1, 1000, 1 << 20)))
            elif act < 10:
                for _ in range(chance.randrange(4)):
                    await deferLater(reactor, 0)
            elif act == 10 and chance.randrange(3) == 0 and source not in ended:
                source.end()
                ended.add(source)
            elif act == 11 and chance.randrange(8) == 0:
                source.reset()
                if self.relay is None:
                    self.start(early)
                await self.sequenceWasReset(source, sink, sent, ended)
                return
        if self.relay is None:
            self.start(early)
        for peer in (self.client, self.target):
            if peer not in ended:
                peer.end()
        await self.ends(self.client)
        await self.ends(self.target)
        self.assertTrue(self.client.received == sent[self.target])
        self.assertTrue(self.target.received == sent[self.client])
        await self.finishes("closed")
        self.assertEqual(self.relay.bytesSent, len(sent[self.client]))
        self.assertEqual(self.relay.bytesReceived, len(sent[self.target]))

    async def sequenceWasReset(
        self, source: Peer, sink: Peer, sent: dict[Peer, bytearray], ended: set[Peer]
    ) -> None:
        """
        C{source} has been reset: so is C{sink}, after some of what it was sent.
        """
        if source in ended:
            # A relay may notice only when it has something to tell.
            await self.until(sink.readToTheEnd)
            if not sink.wasReset and sink not in ended:
                sink.end()
        else:
            await self.resets(sink)
        self.assertTrue(sent[source].startswith(sink.received))
        await self.until(lambda: bool(self.reasons))
        reset = "reset by the client", "reset by the target"
        possible = {reset[source is self.target]}
        if ended:
            # What one side's end is passed on to may hide the reset: a socket
            # tells it once, to whoever uses it first.
            possible.add("closed")
        self.assertLessEqual(set(self.reasons), possible)
        self.assertEqual(len(self.reasons), 1)
        self.assertLessEqual(self.relay.bytesSent, len(sent[self.client]))
        self.assertLessEqual(self.relay.bytesReceived, len(sent[self.target]))
