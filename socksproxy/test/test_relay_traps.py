"""
The traps of a relay that is driven by edges and moves bytes by splice: each has
lost bytes or hung a session in one program or another, and has a test of its own
here.

The hub is real and so are the sockets; the reactor is not, so that a test says
when it is whose turn.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import stat
import struct
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.hubconnection import HubConnection, keepUrgentInline
from socksproxy.relay import pipes as pipesModule
from socksproxy.relay.hub import Hub
from socksproxy.relay.idle import IdleWatch
from socksproxy.relay.relay import RelayEnd
from socksproxy.relay.splice import COPY, ROUNDS, SpliceRelay, pipes
from socksproxy.test.relaysuite import (
    PATIENCE,
    ClientProtocol,
    Peer,
    emptyPool,
    tcpPair,
)
from socksproxy.test.test_relay_hub import FakeReactor, Watcher

ROUND = 0.125
"""
Seconds of a round of the reactor.
"""

MANY = 100 * ROUNDS
"""
More often than anybody reads in a turn.
"""


class TurnReactor(FakeReactor):
    """
    As real ones, it calls what was asked for in one round in the next.
    """

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        return super().callLater(delay or ROUND, callable, *args, **kw)


def unixPair() -> tuple[socket.socket, socket.socket]:
    """
    The same for UNIX sockets: what one end does the other sees at once, however
    full they are.
    """
    outer, inner = socket.socketpair()
    outer.setblocking(False)
    return outer, inner


class Session:
    """
    A relay and its two peers.

    @ivar reasons: why it is over, once it is.
    """

    def __init__(
        self,
        hub: Hub,
        reactor: FakeReactor,
        early: bytes = b"",
        pair: Callable[[], tuple[socket.socket, socket.socket]] = tcpPair,
    ) -> None:
        outerClient, self.innerClient = pair()
        outerTarget, self.innerTarget = pair()
        self.client, self.target = Peer(outerClient), Peer(outerTarget)
        self.reasons: list[str] = []
        address = ("127.0.0.1", 0)
        client, target = ClientProtocol(), RelayEnd()
        transports = []
        for inner, protocol in ((self.innerClient, client), (self.innerTarget, target)):
            inner.setblocking(False)
            keepUrgentInline(inner)
            transport = HubConnection(inner, protocol, reactor, hub, address)
            transport.connected = 1
            hub.watch(inner.fileno(), transport)
            protocol.makeConnection(transport)
            transports.append(transport)
        self.relay = client.relay = SpliceRelay(
            hub,
            transports[0],
            early,
            target,
            IdleWatch(Clock(), 0, 0),
            self.reasons.append,
        )

    def ways(self) -> Iterator[tuple[Peer, Peer, socket.socket, socket.socket]]:
        """
        From, to, and the relay's sockets of both: both ways.
        """
        yield self.client, self.target, self.innerClient, self.innerTarget
        yield self.target, self.client, self.innerTarget, self.innerClient

    def close(self) -> None:
        """
        Leave nothing behind.
        """
        self.relay.abort("the test is over")
        self.client.socket.close()
        self.target.socket.close()


class TrapTestCase(SynchronousTestCase):
    """
    Relays whose turns a test counts.
    """

    def setUp(self) -> None:
        self.reactor = TurnReactor()
        self.hub = Hub(self.reactor)
        self.addCleanup(lambda: self.assertEqual(pipes.taken, 0))

    def session(self, **kwargs: Any) -> Session:
        """
        A session whose relay has started and has nothing to do.
        """
        session = Session(self.hub, self.reactor, **kwargs)
        self.addCleanup(session.close)
        session.relay.start()
        self.turn()
        return session

    def eachWay(self) -> Iterator[tuple[Peer, Peer, socket.socket, socket.socket]]:
        """
        As L{Session.ways}, each of another session.
        """
        for number in range(2):
            yield list(self.session().ways())[number]

    def turn(self) -> None:
        """
        The reactor's next round.
        """
        self.hub.doRead()
        self.reactor.advance(ROUND)

    def until(self, condition: Callable[[], bool]) -> None:
        """
        Let the reactor go round until something has come true.
        """
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                self.fail("what was waited for has not happened")
            self.turn()

    def arrives(self, peer: Peer, data: bytes) -> None:
        """
        C{peer} gets exactly C{data}.
        """

        def complete() -> bool:
            peer.read()
            return len(peer.received) >= len(data) or peer.isOver()

        self.until(complete)
        # Not assertEqual: that would show it.
        self.assertTrue(
            peer.received == data, f"{len(peer.received)} bytes of {len(data)}"
        )
        peer.received.clear()

    def ends(self, peer: Peer) -> None:
        """
        C{peer} gets the EOF, and nothing before.
        """
        self.until(peer.readToTheEnd)
        self.assertEqual((peer.wasReset, bytes(peer.received)), (False, b""))

    def shows(self, sock: socket.socket, events: int) -> None:
        """
        Wait until C{sock}, which no turn has been given to meanwhile, is ready
        for all of C{events}.
        """
        poll = select.poll()
        poll.register(sock, events)
        deadline = time.monotonic() + PATIENCE
        while sum(found for _, found in poll.poll(100)) & events != events:
            if time.monotonic() > deadline:
                self.fail("the kernel does not show what was waited for")

    def isDelivered(self, peer: Peer) -> None:
        """
        Wait until all that C{peer} has sent has reached the relay's socket.
        """
        deadline = time.monotonic() + PATIENCE
        while any(fcntl.ioctl(peer.socket, termios.TIOCOUTQ, bytes(4))):
            if time.monotonic() > deadline:
                self.fail("it does not arrive")

    def fill(self, sock: socket.socket) -> bytes:
        """
        Write until C{sock} takes no more.

        @return: all that was written.
        """
        written = bytearray()
        while True:
            try:
                written += bytes(sock.send(bytes(1 << 16)))
            except BlockingIOError:
                # What is under way on loopback may make room.
                poll = select.poll()
                poll.register(sock, select.POLLOUT)
                if not poll.poll(20):
                    return bytes(written)


class EdgeTests(TrapTestCase):
    """
    An edge is told once.
    """

    def test_endCameWithTheData(self) -> None:
        """
        An EOF that has come together with bytes, too few to fill the buffer, is
        passed on although no other event follows.
        """
        for source, sink, inner, _ in self.eachWay():
            source.send(b"the last words")
            source.end()
            self.shows(inner, select.POLLIN | select.POLLRDHUP)
            self.hub.doRead()
            self.until(sink.readToTheEnd)
            self.assertEqual(bytes(sink.received), b"the last words")

    def test_bytesThatNobodyTook(self) -> None:
        """
        Bytes that were read and then not taken by the other side, which is
        full, are not lost: they follow what is before them.
        """
        for source, sink, inner, other in self.eachWay():
            before = self.fill(other)
            source.send(b"precious")
            source.end()
            self.shows(inner, select.POLLIN | select.POLLRDHUP)
            for _ in range(5):
                self.turn()
            self.arrives(sink, before + b"precious")
            self.ends(sink)

    def test_edgeOfAFormerOwner(self) -> None:
        """
        The number of a descriptor that was closed is used again at once: the
        event that was fetched for its relay in the same batch does not reach
        its new owner, whose own events do.
        """
        hub = self.hub
        made: list[socket.socket] = []
        session = self.session()
        numbers = {session.innerClient.fileno(), session.innerTarget.fileno()}
        fresh = {number: Watcher() for number in numbers}

        class Replaces(Watcher):
            """
            Ends the relay and opens others in its place.
            """

            def ready(self, events: int) -> None:
                if events & select.EPOLLIN:
                    session.relay.abort("makes place")
                    while not numbers <= {end.fileno() for end in made}:
                        made.extend(socket.socketpair())
                    for number in numbers:
                        hub.watch(number, fresh[number])

        replaced, other = socket.socketpair()
        made += [replaced, other]
        hub.watch(replaced.fileno(), Replaces())
        self.turn()
        # First the one that replaces, then those that are replaced.
        other.send(b"x")
        for source, _, inner, _ in session.ways():
            source.send(b"for the former owner")
            self.shows(inner, select.POLLIN)
        hub.doRead()
        self.assertEqual(session.reasons, ["makes place"])
        self.assertEqual([watcher.events for watcher in fresh.values()], [[], []])
        hub.doRead()
        self.assertEqual(
            [watcher.events for watcher in fresh.values()], [[select.EPOLLOUT]] * 2
        )
        for number in (*numbers, replaced.fileno()):
            hub.forget(number)
        for end in made:
            end.close()


class PipeTests(TrapTestCase):
    """
    Bytes in a pipe are nowhere else.
    """

    def stalled(self) -> tuple[Session, bytes]:
        """
        A session of which the client has sent so much that some of it waits in
        a pipe.

        @return: it, and what the client has sent.
        """
        session = self.session(pair=unixPair)
        sent = bytearray()

        def stalls() -> bool:
            data = os.urandom(1 << 16)
            took = session.client.send(data)
            sent.extend(data[:took])
            if not took:
                # What waits is a copy.
                session.target.read()
            self.turn()
            return bool(pipes.taken)

        self.until(stalls)
        return session, bytes(sent)

    def test_endBehindThePipe(self) -> None:
        """
        When a pipe could be emptied in part only, the rest of it goes out
        before anything else, in its order, and the EOF after all of it.
        """
        session, sent = self.stalled()
        session.client.end()
        self.shows(session.innerClient, select.POLLRDHUP)
        for _ in range(3):
            self.turn()
        self.assertEqual(pipes.taken, 1)
        self.arrives(session.target, sent)
        self.ends(session.target)

    def test_partOfAPipe(self) -> None:
        """
        A splice that moves less than it was asked for is not the end of it.
        """
        splice = os.splice

        def few(source: int, sink: int, count: int, flags: int) -> int:
            if stat.S_ISFIFO(os.fstat(source).st_mode):
                count = min(count, 1000)
            return splice(source, sink, count, flags=flags)

        session = self.session()
        self.patch(os, "splice", few)
        data = os.urandom(5 * COPY)
        self.assertEqual(session.client.send(data), len(data))
        session.client.end()
        self.arrives(session.target, data)
        self.ends(session.target)

    def test_fillsAnEmptyPipeOnly(self) -> None:
        """
        C{EAGAIN} has one meaning: a socket is spliced from only when the pipe
        is known to be empty, so it cannot be the pipe that is full.
        """
        splice = os.splice
        fills = []

        def checked(source: int, sink: int, count: int, flags: int) -> int:
            if stat.S_ISFIFO(os.fstat(sink).st_mode):
                waiting = fcntl.ioctl(sink, termios.FIONREAD, bytes(4))
                fills.append(struct.unpack("i", waiting)[0])
            return splice(source, sink, count, flags=flags)

        self.patch(os, "splice", checked)
        # The least there is, which a socket can fill at any time.
        self.patch(pipesModule, "CAPACITY", 4096)
        emptyPool()
        self.addCleanup(emptyPool)
        session, sent = self.stalled()
        session.client.end()
        self.arrives(session.target, sent)
        self.ends(session.target)
        self.assertEqual(set(fills), {0})

    def test_dirtyPipeIsClosed(self) -> None:
        """
        A pipe with bytes of a session that is over is closed: nobody gets
        them who takes a pipe later.
        """
        emptyPool()
        session, _ = self.stalled()
        pipe = session.relay._client._pipe
        assert pipe is not None
        session.relay.abort("over")
        self.assertEqual((pipes.taken, pipes._pipes), (0, []))
        for end in pipe:
            self.assertRaises(OSError, os.fstat, end)
        other = self.session()
        data = os.urandom(10 * COPY)
        self.assertEqual(other.client.send(data), len(data))
        self.arrives(other.target, data)


class FairnessTests(TrapTestCase):
    """
    A flood.
    """

    def flood(self, session: Session) -> list[int]:
        """
        From now on the client of C{session} sends more whenever some is taken,
        and its target reads all of it: there is no end of it.

        @return: grows by an entry for each time that it is read from.
        """
        splice = os.splice
        client, target, inner, other = next(session.ways())
        rounds: list[int] = []
        room = select.poll()
        room.register(other, select.POLLOUT)

        def refill() -> None:
            while client.send(bytes(1 << 18)):
                pass
            self.shows(inner, select.POLLIN)

        def endless(come: int, go: int, count: int, flags: int) -> int:
            moved = splice(come, go, count, flags=flags)
            if come == inner.fileno():
                rounds.append(moved)
                if len(rounds) > MANY:
                    raise AssertionError("there is no end of it")
                refill()
            else:
                while not room.poll(0):
                    target.read()
                    target.received.clear()
            return moved

        self.patch(os, "splice", endless)
        refill()
        return rounds

    def test_floodYields(self) -> None:
        """
        While one session is flooded, another one's bytes get through in the
        turn they come in; the flood goes on when the reactor has been round.
        """
        flooded, other = self.session(), self.session()
        rounds = self.flood(flooded)
        number = 0
        while len(rounds) < MANY // 2:
            number += 1
            data = struct.pack("!I", number)
            other.client.send(data)
            self.shows(other.innerClient, select.POLLIN)
            before = len(rounds)
            self.turn()
            # An event, and a turn that was asked for.
            self.assertLessEqual(len(rounds) - before, 2 * ROUNDS)
            self.shows(other.target.socket, select.POLLIN)
            self.arrives(other.target, data)
        self.assertEqual(flooded.reasons, [])


class UrgentDataTests(TrapTestCase):
    """
    Splice stops before an urgent byte for ever.  Urgent bytes stay in the
    stream, in their place.
    """

    def sendUrgent(self, source: Peer, inner: socket.socket) -> None:
        """
        One byte.
        """
        source.socket.send(b"!", socket.MSG_OOB)
        self.shows(inner, select.POLLPRI)

    def test_inTheMiddle(self) -> None:
        """
        One amid what splice moves, in both directions.
        """
        before, behind = os.urandom(2 * COPY), os.urandom(1000)
        session = self.session()
        for source, sink, inner, _ in session.ways():
            self.assertEqual(source.send(before), len(before))
            self.sendUrgent(source, inner)
            self.assertEqual(source.send(behind), len(behind))
            self.isDelivered(source)
            self.arrives(sink, before + b"!" + behind)
        for source, sink, _, _ in session.ways():
            source.send(b"goes on")
            self.arrives(sink, b"goes on")

    def test_whileItIsMoved(self) -> None:
        """
        One that comes after the event, with more bytes and the EOF behind it:
        splice says 0 before it, as it does at the end.  Nothing is lost.
        """
        before, behind = os.urandom(2 * COPY), os.urandom(1000)
        for source, sink, inner, _ in self.eachWay():
            splice = os.splice

            def comes(come: int, go: int, count: int, flags: int) -> int:
                self.patch(os, "splice", splice)  # noqa: B023
                self.sendUrgent(source, inner)  # noqa: B023
                source.send(behind)  # noqa: B023
                source.end()  # noqa: B023
                self.shows(inner, select.POLLRDHUP)  # noqa: B023
                return splice(come, go, count, flags=flags)  # noqa: B023

            self.patch(os, "splice", comes)
            self.assertEqual(source.send(before), len(before))
            self.shows(inner, select.POLLIN)
            self.arrives(sink, before + b"!" + behind)
            self.ends(sink)
            self.assertFalse(sink.wasReset)

    def test_several(self) -> None:
        """
        One after the other, and more bytes than fit a buffer between them.
        """
        data = os.urandom(3 * COPY)
        for source, sink, inner, _ in self.eachWay():
            for _ in range(4):
                self.assertEqual(source.send(data), len(data))
                self.sendUrgent(source, inner)
            source.end()
            self.arrives(sink, (data + b"!") * 4)
            self.ends(sink)

    def test_alone(self) -> None:
        """
        One with nothing before and nothing behind it does not wait for more.
        """
        for source, sink, inner, _ in self.eachWay():
            self.sendUrgent(source, inner)
            self.arrives(sink, b"!")
            self.sendUrgent(source, inner)
            self.arrives(sink, b"!")

    def test_theLastByte(self) -> None:
        """
        One right before the EOF.
        """
        data = os.urandom(3 * COPY)
        for source, sink, inner, _ in self.eachWay():
            self.assertEqual(source.send(data), len(data))
            self.sendUrgent(source, inner)
            source.end()
            self.arrives(sink, data + b"!")
            self.ends(sink)

    def test_whileTheOtherIsFull(self) -> None:
        """
        One that comes while bytes wait for a side that does not read.
        """
        data = os.urandom(3 * COPY)
        for source, sink, inner, other in self.eachWay():
            before = self.fill(other)
            source.send(b"waits")
            self.shows(inner, select.POLLIN)
            self.turn()
            self.sendUrgent(source, inner)
            self.turn()
            self.assertEqual(source.send(data), len(data))
            source.end()
            self.arrives(sink, before + b"waits!" + data)
            self.ends(sink)


class EarlyDataTests(TrapTestCase):
    """
    What the client has sent too early.
    """

    def test_first(self) -> None:
        """
        It is delivered before what the client sent later, also when the
        target takes it bit by bit.
        """
        session = Session(self.hub, self.reactor, early=b"one ")
        self.addCleanup(session.close)
        before = self.fill(session.innerTarget)
        session.client.send(b"two ")
        self.shows(session.innerClient, select.POLLIN)
        session.relay.start()
        for _ in range(3):
            self.turn()
        session.client.send(b"three")
        session.client.end()
        self.arrives(session.target, before + b"one two three")
        self.ends(session.target)


class FaultTests(TrapTestCase):
    """
    A fault in one session is that session's.
    """

    def test_ofWhoIsTold(self) -> None:
        """
        A fault of who is told of the end leaves the others alone.
        """
        session, other = self.session(), self.session()

        def faulty(reason: str) -> None:
            raise ZeroDivisionError("a fault")

        session.relay._finished = faulty
        session.client.reset()
        self.until(session.target.readToTheEnd)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        other.client.send(b"alive")
        self.arrives(other.target, b"alive")

    def test_ofAnotherTurn(self) -> None:
        """
        A fault in the middle of the work ends the session it happens in.
        """
        splice, session, other = os.splice, self.session(), self.session()

        def faulty(come: int, go: int, count: int, flags: int) -> int:
            if come == session.innerClient.fileno():
                raise ZeroDivisionError("a fault")
            return splice(come, go, count, flags=flags)

        self.patch(os, "splice", faulty)
        session.client.send(bytes(5 * COPY))
        self.until(session.target.readToTheEnd)
        self.until(session.client.readToTheEnd)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(session.reasons), 1)
        data = os.urandom(5 * COPY)
        other.client.send(data)
        self.arrives(other.target, data)

    def test_reactorStops(self) -> None:
        """
        When the reactor stops, all sessions are ended.
        """
        sessions = [self.session(), self.session()]
        self.hub.connectionLost(Failure(ConnectionLost()))
        for session in sessions:
            self.assertEqual(session.reasons, ["the proxy stopped"])
            for peer in (session.client, session.target):
                self.until(peer.readToTheEnd)
        self.assertEqual(len(self.hub), 0)
