"""
Tests for L{socksproxy.outbound.exchange}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import errno
import os
import random
import socket
from select import select
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.names import dns
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from socksproxy.errors import HostUnreachable
from socksproxy.outbound.exchange import STREAM_SECONDS, Exchange
from socksproxy.test.nameserver import NameServer, Question, answerTo, record
from socksproxy.test.processes import PATIENCE
from socksproxy.wire.address import Address

A, AAAA = (dns.Query(b"example.org", kind) for kind in (dns.A, dns.AAAA))
RECORD = record(b"example.org", dns.Record_A("192.0.2.1"))


class ExchangeTestCase(SynchronousTestCase):
    """
    Real datagrams on loopback; the reactor and its clock are the test's.

    @ivar over: what C{over} was called with.
    """

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.server = NameServer()
        self.addCleanup(self.server.close)
        self.answers: list[tuple[dns.Query, dns.Message]] = []
        self.over: list[Exception | None] = []
        self.exchange = self.exchangeWith(self.server.address)

    def exchangeWith(self, server: Address) -> Exchange:
        return Exchange(
            self.reactor,
            server,
            lambda query, message: self.answers.append((query, message)),
            self.over.append,
        )

    def ask(self, *queries: dns.Query) -> list[Question]:
        """
        Begin it.
        """
        self.assertIsNone(self.exchange.start(queries, 3))
        return [self.server.question() for _ in queries]

    def read(self, exchange: Exchange | None = None) -> None:
        """
        Have it read what has come, which is something.
        """
        exchange = exchange or self.exchange
        self.assertIn(exchange, self.reactor.readers)
        readable, _, _ = select([exchange], [], [], PATIENCE)
        self.assertEqual(readable, [exchange])
        exchange.doRead()

    def assertEnded(self, failure: type[Exception] | None = None) -> None:
        """
        It is over, which was said once, and nothing is left of it.
        """
        self.assertEqual(len(self.over), 1)
        if failure is None:
            self.assertIsNone(self.over[0])
        else:
            self.assertIsInstance(self.over[0], failure)
        self.assertClosed()

    def assertClosed(self) -> None:
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.exchange.fileno(), -1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class DatagramTests(ExchangeTestCase):
    """
    Over UDP.
    """

    def test_interface(self) -> None:
        """
        It is what the reactor reads from.
        """
        verifyObject(IReadDescriptor, self.exchange)
        self.assertEqual(self.exchange.logPrefix(), "socksproxy dns")

    def test_answers(self) -> None:
        """
        All questions are asked at once, from one port; the exchange is over
        with the last answer, in whatever order they come.
        """
        first, second = self.ask(AAAA, A)
        self.assertEqual(first.client, second.client)
        self.assertEqual((first.type, second.type), (dns.AAAA, dns.A))
        self.assertEqual(first.message.recDes, 1)
        self.server.answer(second, RECORD)
        self.read()
        self.assertEqual(self.answers[0][0], A)
        self.assertEqual(self.answers[0][1].answers, [RECORD])
        self.assertEqual(self.over, [])
        self.server.answer(first)
        self.read()
        self.assertEqual(self.answers[1][0], AAAA)
        self.assertEnded()

    def test_IPv6(self) -> None:
        """
        A server can have an IPv6 address.
        """
        server = NameServer("::1")
        self.addCleanup(server.close)
        self.exchange = self.exchangeWith(server.address)
        self.assertIsNone(self.exchange.start([A], 3))
        server.answer(server.question(), RECORD)
        self.read()
        self.assertEqual(len(self.answers), 1)
        self.assertEnded()

    def test_unpredictable(self) -> None:
        """
        Each exchange has a port and identifiers of its own.
        """
        ports, numbers = set(), set()
        for _ in range(50):
            self.exchange = self.exchangeWith(self.server.address)
            for question in self.ask(AAAA, A):
                ports.add(question.client)
                numbers.add(question.message.id)
            self.exchange.close()
        self.assertGreater(len(ports), 25)
        self.assertGreater(len(numbers), 75)

    def test_differentNumbers(self) -> None:
        """
        Two questions of one exchange never have the same identifier.
        """
        numbers = iter((7, 7, 7, 8))
        self.patch(dns, "randomSource", lambda: next(numbers))
        first, second = self.ask(AAAA, A)
        self.assertEqual((first.message.id, second.message.id), (7, 8))
        self.exchange.close()

    def test_noAnswers(self) -> None:
        """
        What does not answer the question, though it comes from the server, is
        dropped, and the answer is still waited for.
        """
        (question,) = self.ask(A)
        message = question.message
        other = dns.Message(message.id, answer=1)
        for queries in (
            [],
            [AAAA],
            [A, A],
            [dns.Query(b"example.com", dns.A)],
            [dns.Query(b"example.org", dns.A, dns.CH)],
        ):
            other.queries = queries
            self.server.send(other.toStr(), question)
        self.server.answer(question, RECORD, id=message.id ^ 1)
        self.server.answer(question, RECORD, answer=0)
        self.server.send(b"", question)
        self.server.send(answerTo(message).toStr()[:20], question)
        loop = answerTo(message).toStr()[:12] + b"\xc0\x0c\0\1\0\1"
        self.server.send(loop, question)
        for _ in range(10):
            self.read()
        self.assertEqual(self.answers, [])
        self.server.answer(question, RECORD)
        self.read()
        self.assertEqual(len(self.answers), 1)
        self.assertEnded()

    def test_garbage(self) -> None:
        """
        Nothing that a server sends raises.
        """
        (question,) = self.ask(A)
        chance = random.Random(3)
        good = answerTo(question.message, *[RECORD] * 3).toStr()
        for _ in range(2000):
            bad = bytearray(good)
            for _ in range(chance.randrange(1, 6)):
                bad[chance.randrange(2, len(bad))] = chance.randrange(256)
            bad[2] &= 0xFD  # It is not truncated.
            self.exchange.received(bytes(bad[: chance.randrange(len(bad) * 2)]))
            if self.answers:
                self.over.clear()
                self.answers.clear()
                self.exchange = self.exchangeWith(self.server.address)
                (question,) = self.ask(A)
                good = answerTo(question.message, *[RECORD] * 3).toStr()
        self.exchange.close()

    def test_stranger(self) -> None:
        """
        What another address sends never gets here.
        """
        (question,) = self.ask(A)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.1", 0))
            forged = answerTo(question.message, RECORD).toStr()
            stranger.sendto(forged, question.client)
        self.assertEqual(select([self.exchange], [], [], 0)[0], [])
        self.exchange.close()

    def test_caseOfLetters(self) -> None:
        """
        A server may write the name as it likes.
        """
        (question,) = self.ask(A)
        shouting = [dns.Query(b"EXAMPLE.ORG", dns.A)]
        self.server.answer(question, RECORD, queries=shouting)
        self.read()
        self.assertEnded()

    def test_silence(self) -> None:
        """
        A server has its time; what it has not said by then it has not said.
        """
        first, _ = self.ask(AAAA, A)
        self.server.answer(first)
        self.read()
        self.reactor.advance(2.75)
        self.assertEqual(self.over, [])
        self.reactor.advance(0.25)
        self.assertEqual(len(self.answers), 1)
        self.assertEnded()

    def test_nobodyListens(self) -> None:
        """
        A server that is not there is noticed as soon as the system knows.
        """
        self.ask(AAAA)
        port = self.server.address
        self.server.close()
        self.exchange.close()
        self.exchange = self.exchangeWith(port)
        failure = self.exchange.start([A], 3)
        if failure is None:
            self.read()
            self.assertEnded(HostUnreachable)
        else:
            self.assertIsInstance(failure, HostUnreachable)

    def test_error(self) -> None:
        """
        Some reactors call that a lost connection.
        """
        self.ask(A)
        self.exchange.connectionLost(Failure(ConnectionDone()))
        self.assertEnded(HostUnreachable)
        self.exchange.connectionLost(Failure(ConnectionDone()))
        self.assertEnded(HostUnreachable)

    def test_unreachable(self) -> None:
        """
        A server that there is no way to is a failure at once.
        """
        self.exchange = self.exchangeWith(Address.ip("255.255.255.255", 53))
        self.assertIsInstance(self.exchange.start([A], 3), HostUnreachable)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_noDescriptor(self) -> None:
        """
        That there is no descriptor left is said as it is: it is not the
        server's fault.
        """
        wrong = OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        def noSocket(*args: object) -> None:
            raise wrong

        self.patch(socket, "socket", noSocket)
        self.assertIs(self.exchange.start([A], 3), wrong)

    def test_falseAlarm(self) -> None:
        """
        Nothing to read is no failure.
        """
        (question,) = self.ask(A)
        self.exchange.doRead()
        self.server.answer(question, RECORD)
        self.read()
        self.assertEnded()

    def test_closed(self) -> None:
        """
        It can be ended at any time, and then says nothing any more.
        """
        self.ask(AAAA, A)
        self.exchange.close()
        self.exchange.close()
        self.assertClosed()
        self.assertEqual(self.over, [])


class StreamTests(ExchangeTestCase):
    """
    Over TCP, when an answer does not fit.
    """

    def truncated(self, *queries: dns.Query) -> tuple[Any, StringTransport]:
        """
        Ask, be told that the first answer does not fit, and connect.

        @return: the TCP side's protocol and its transport.
        """
        questions = self.ask(*queries)
        self.server.answer(questions[0], RECORD, trunc=1)
        self.read()
        self.assertEqual(self.answers, [])
        self.assertEqual(self.reactor.getReaders(), [])
        ((host, port, factory, _, _),) = self.reactor.tcpClients
        self.assertEqual(Address.ip(host, port), self.server.address)
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def questions(self, transport: StringTransport) -> list[dns.Message]:
        """
        What was asked over TCP.
        """
        data, found = transport.value(), []
        while data:
            length = int.from_bytes(data[:2], "big")
            message = dns.Message()
            message.fromStr(data[2 : 2 + length])
            found.append(message)
            data = data[2 + length :]
        return found

    def framed(self, message: dns.Message) -> bytes:
        data = message.toStr()
        return len(data).to_bytes(2, "big") + data

    def test_answers(self) -> None:
        """
        All that is owed is asked again over one connection, and the socket
        for datagrams is closed: there is one descriptor.
        """
        protocol, transport = self.truncated(AAAA, A)
        first, second = self.questions(transport)
        self.assertEqual((first.queries, second.queries), ([AAAA], [A]))
        many = [RECORD] * 400
        protocol.dataReceived(self.framed(answerTo(second, *many)))
        self.assertEqual(self.over, [])
        protocol.dataReceived(self.framed(answerTo(first)))
        self.assertEqual([query for query, _ in self.answers], [A, AAAA])
        self.assertEqual(len(self.answers[0][1].answers), 400)
        self.assertEnded()

    def test_oneAnswered(self) -> None:
        """
        What has been answered is not asked again.
        """
        first, second = self.ask(AAAA, A)
        self.server.answer(first)
        self.read()
        self.server.answer(second, trunc=1)
        self.read()
        protocol = self.reactor.tcpClients[0][2].buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        (question,) = self.questions(transport)
        self.assertEqual(question.queries, [A])
        self.exchange.close()

    def test_stillTruncated(self) -> None:
        """
        An answer that does not even fit here is taken as it is.
        """
        protocol, transport = self.truncated(A)
        (question,) = self.questions(transport)
        protocol.dataReceived(self.framed(answerTo(question, RECORD, trunc=1)))
        self.assertEqual(len(self.answers), 1)
        self.assertEnded()

    def test_connectionFails(self) -> None:
        """
        A server that cannot be connected to has failed.
        """
        (question,) = self.ask(A)
        self.server.answer(question, trunc=1)
        self.read()
        factory = self.reactor.tcpClients[0][2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        self.assertEnded(HostUnreachable)

    def test_connectionLost(self) -> None:
        """
        So has one that hangs up before it has said all.
        """
        self.truncated(A)
        factory = self.reactor.tcpClients[0][2]
        factory.clientConnectionLost(None, Failure(ConnectionDone()))
        self.assertEnded(HostUnreachable)

    def test_silence(self) -> None:
        """
        And it has its time.
        """
        self.truncated(A)
        self.reactor.advance(STREAM_SECONDS - 0.25)
        self.assertEqual(self.over, [])
        self.reactor.advance(0.25)
        self.assertEnded()

    def test_closed(self) -> None:
        """
        It can be ended here, too; the end of the connection then says
        nothing.
        """
        self.truncated(A)
        self.exchange.close()
        factory = self.reactor.tcpClients[0][2]
        factory.clientConnectionLost(None, Failure(ConnectionDone()))
        self.assertEqual(self.over, [])
        self.assertClosed()


class RealReactorTests(TestCase):
    """
    On the real reactor, which has its own way to tell of errors.
    """

    async def test_nobodyListens(self) -> None:
        """
        A server that is not there is noticed without waiting.
        """
        server = NameServer()
        server.close()
        ended: Deferred[Any] = Deferred()
        exchange = Exchange(
            reactor, server.address, lambda query, message: None, ended.callback
        )
        failure = exchange.start([A], PATIENCE)
        if failure is None:
            failure = await ended
        self.assertIsInstance(failure, HostUnreachable)
        self.assertIn("refused", str(failure))
