"""
Tests for BIND in L{socksproxy.server.session}, in memory.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol
from twisted.logger import capturedLogs
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.errors import NetworkUnreachable, TimedOut
from socksproxy.interfaces import (
    Granted,
    IBinder,
    IBinding,
    IConnector,
    Identity,
    Request,
)
from socksproxy.server.factory import Limits
from socksproxy.server.session import Session
from socksproxy.test.test_server_session import (
    GREETING,
    REQUEST,
    SELECTION,
    Scripted,
    ScriptedPolicy,
    SessionTestCase,
    SlowNegotiation,
    failure,
)
from socksproxy.testing import FakeBinder, FakeBinding, FakeSession, MemoryTransport
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command

BIND = b"\x05\x02" + REQUEST[2:]  # the target is 198.51.100.2:80
LISTENS = b"\x05\x00\x00\x01\xc6\x33\x64\x01\xc3\x50"  # at 198.51.100.1:50000
CAME = b"\x05\x00\x00\x01\xc6\x33\x64\x02\x00\x50"  # from 198.51.100.2:80


class BindTestCase(SessionTestCase):
    """
    A factory with a connector that serves BIND as the test decides.
    """

    def setUp(self) -> None:
        super().setUp()
        self.connector: FakeBinder = FakeBinder()
        self.factory = self.makeFactory()

    def asked(self, *received: bytes) -> tuple[Session, MemoryTransport, FakeBinding]:
        """
        A client that wants to BIND.
        """
        session, transport = self.client(GREETING, BIND, *received)
        return session, transport, self.connector.bindings[-1]

    def waiting(self, *received: bytes) -> tuple[Session, MemoryTransport, FakeBinding]:
        """
        One that was told where to connect to.
        """
        session, transport, binding = self.asked(*received)
        binding.listen()
        return session, transport, binding


class BindTests(BindTestCase):
    """
    From the request to its second answer.
    """

    def test_fakes(self) -> None:
        """
        The fakes are what they stand for.
        """
        connector = FakeBinder()
        verifyObject(IBinder, connector)
        verifyObject(IConnector, connector)
        request = Request(Command.BIND, Address.UNSPECIFIED)
        connector.bind(request, FakeSession(), self.factory.targetFactory)
        verifyObject(IBinding, connector.bindings[0])

    def test_request(self) -> None:
        """
        The binder gets the request as a value.
        """
        session, _, binding = self.asked()
        expected = Request(Command.BIND, Address.ip("198.51.100.2", 80))
        self.assertEqual(binding.request, expected)
        self.assertIs(binding.session, session)
        self.assertEqual(self.connector.attempts, [])

    def test_twoAnswers(self) -> None:
        """
        The client is told where the target can connect to, then who has; then
        the bytes are relayed.  Each answer is a write of its exact length.
        """
        session, transport, binding = self.asked()
        self.assertEqual(transport.writes, [SELECTION])
        binding.listen()
        self.assertEqual(transport.writes, [SELECTION, LISTENS])
        target = binding.connect()
        self.assertEqual(transport.writes, [SELECTION, LISTENS, CAME])
        binding.protocol.dataReceived(b"220 hello")
        session.dataReceived(b"USER")
        self.assertEqual(transport.writes[3:], [b"220 hello"])
        self.assertEqual(target.value(), b"USER")

    def test_anyPort(self) -> None:
        """
        C{DST.ADDR} and C{DST.PORT} may be zero.
        """
        self.client(GREETING, b"\x05\x02\x00\x01" + bytes(6))
        request = self.connector.bindings[0].request
        self.assertEqual(request.destination, Address.UNSPECIFIED)

    def test_earlyData(self) -> None:
        """
        What the client sends before the target has connected is kept for it.
        """
        session, _, binding = self.asked(b"one ")
        session.dataReceived(b"two ")
        binding.listen()
        session.dataReceived(b"three")
        self.assertEqual(binding.connect().value(), b"one two three")

    def test_notProvided(self) -> None:
        """
        A connector that is no binder, and a factory that is not to serve BIND,
        answer 07, whatever the policy says.
        """
        policy = ScriptedPolicy(True)
        factories: list[dict[str, Any]] = [
            {"connector": self.connector, "bind": False, "policy": policy},
            {"connector": OnlyConnects(), "policy": policy},
        ]
        for arguments in factories:
            self.factory = self.makeFactory(**arguments)
            _, transport = self.client(GREETING, BIND)
            self.assertRefused(transport, SELECTION, failure(7))
        self.assertEqual(self.connector.bindings, [])
        self.assertEqual(policy.asked, [])

    def test_policy(self) -> None:
        """
        The policy is asked before anything listens.
        """
        answer: Deferred[bool] = Deferred()
        for permitted in (False, answer):
            self.factory = self.makeFactory(policy=ScriptedPolicy(permitted))
            _, transport = self.client(GREETING, BIND)
        answer.callback(False)
        self.assertRefused(transport, SELECTION, failure(2))
        self.assertEqual(self.connector.bindings, [])

    def test_cannotListen(self) -> None:
        """
        When it cannot listen the only answer has the cause.
        """
        for exception, code in (
            (NetworkUnreachable("there is no route"), 3),
            (OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)), 1),
        ):
            _, transport, binding = self.asked()
            binding.cannotListen(exception)
            self.assertRefused(transport, SELECTION, failure(code))

    def test_faultOfBinder(self) -> None:
        """
        A fault of the binder is logged and answered with 01.
        """
        _, transport, binding = self.asked()
        binding.cannotListen(ZeroDivisionError("a fault"))
        self.assertRefused(transport, SELECTION, failure(1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_raises(self) -> None:
        """
        So is what it raises.
        """

        class Raising(FakeBinder):
            def bind(self, *args: object) -> Any:
                raise ZeroDivisionError("a fault")

        self.factory = self.makeFactory(connector=Raising())
        _, transport = self.client(GREETING, BIND)
        self.assertRefused(transport, SELECTION, failure(1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_addressThatIsNone(self) -> None:
        """
        An address that cannot be told is the binder's fault, and nothing waits
        for the target.
        """
        _, transport, binding = self.asked()
        binding.address = None  # type: ignore[assignment]
        binding.listen()
        self.assertRefused(transport, SELECTION, failure(1))
        self.assertTrue(binding.cancelled)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_foreignProtocol(self) -> None:
        """
        A binder must return what the protocolFactory built.
        """
        _, transport, binding = self.waiting()
        binding.accepted.callback(Protocol())
        self.assertRefused(transport, SELECTION, LISTENS, failure(1))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_secondAnswerFails(self) -> None:
        """
        When the wait comes to nothing the second answer has the cause.
        """
        _, transport, binding = self.waiting()
        binding.fail(TimedOut("nobody connected in time"))
        self.assertRefused(transport, SELECTION, LISTENS, failure(4))

    def test_timeToListen(self) -> None:
        """
        The time to begin to listen is that of a connection.
        """
        _, transport, binding = self.asked()
        self.clock.advance(30)
        self.assertTrue(binding.cancelled)
        self.assertRefused(transport, SELECTION, failure(4))

    def test_timeToConnect(self) -> None:
        """
        The target has a time of its own, which begins with the first answer.
        """
        self.factory = self.makeFactory(limits=Limits(bindTimeout=100))
        _, transport, binding = self.asked()
        self.clock.advance(29)
        binding.listen()
        self.clock.advance(99.9)
        self.assertFalse(binding.cancelled)
        self.clock.advance(0.1)
        self.assertTrue(binding.cancelled)
        self.assertRefused(transport, SELECTION, LISTENS, failure(4))

    def test_noTimers(self) -> None:
        """
        When the target has come in time there is nothing left that expires.
        """
        _, transport, binding = self.waiting()
        self.clock.advance(119)
        target = binding.connect()
        self.clock.advance(1000)
        self.assertFalse(transport.aborted or target.aborted)

    def test_factoryCloses(self) -> None:
        """
        A factory that has stopped leaves no delayed call behind.
        """
        self.factory.doStart()
        session, transport, _ = self.waiting()
        transport.lose(session)
        self.factory.doStop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


@implementer(IConnector)
class OnlyConnects:
    """
    A connector that is no binder, although it has a method of that name.
    """

    def connect(self, *args: object) -> Deferred[IProtocol]:
        raise NotImplementedError

    bind = connect


class LeavingTests(BindTestCase):
    """
    Clients that do not wait for the target.
    """

    def test_lost(self) -> None:
        """
        A client that is gone wants nothing any more, before it listens and
        while it does.
        """
        for begin in (self.asked, self.waiting):
            session, transport, binding = begin()
            transport.lose(session, ConnectionLost())
            self.assertTrue(binding.cancelled)
            self.assertEqual(len(self.factory.admission), 0)

    def test_ends(self) -> None:
        """
        So does one that has ended its side: nobody would be there for the
        target.
        """
        for begin, writes in (
            (self.asked, [SELECTION]),
            (self.waiting, [SELECTION, LISTENS]),
        ):
            session, transport, binding = begin(b"early")
            session.readConnectionLost()
            self.assertTrue(binding.cancelled)
            self.assertTrue(transport.disconnecting)
            self.assertEqual(transport.writes, writes)

    def test_endedBefore(self) -> None:
        """
        A client that has ended its side while it was being checked who it is
        is not waited for.
        """
        negotiation = SlowNegotiation()
        self.factory = self.makeFactory(authenticators=[Scripted(0, negotiation)])
        session, transport = self.client(GREETING + b"x" + BIND)
        session.readConnectionLost()
        negotiation.step.callback(Granted(Identity("slow"), b"yes"))
        binding = self.connector.bindings[0]
        binding.listen()
        self.assertTrue(binding.cancelled)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(transport.writes, [SELECTION, b"yes"])

    def test_listensTooLate(self) -> None:
        """
        A binder that listens all the same is told that nobody waits.
        """
        session, transport, binding = self.asked()
        binding.listening._canceller = lambda _: binding.listen()
        transport.lose(session)
        self.assertTrue(binding.cancelled)

    def test_tooMuch(self) -> None:
        """
        What a client sends early is bounded; it is read all the while, for
        nobody would see it leave otherwise.
        """
        session, transport, binding = self.waiting()
        for _ in range(4):
            session.dataReceived(b"x" * (1 << 16))
            self.assertEqual(transport.producerState, "producing")
        self.assertFalse(binding.cancelled)
        session.dataReceived(b"x")
        self.assertTrue(binding.cancelled)
        self.assertRefused(transport, SELECTION, LISTENS)

    def test_aborted(self) -> None:
        """
        A proxy that stops does not wait for targets.
        """
        session, transport, _ = self.waiting()
        session.abort("the proxy stopped")
        self.assertTrue(transport.aborted)


class LogTests(BindTestCase):
    """
    What the operator is told.
    """

    def lines(self, events: Any) -> list[str]:
        return [event["line"] for event in events if "line" in event]

    def test_relayed(self) -> None:
        """
        The lines and keys are those of CONNECT; what is dialled there is who
        has connected here.
        """
        with capturedLogs() as events:
            session, transport, binding = self.waiting()
            self.assertEqual(self.lines(events), [])
            binding.connect()
            transport.lose(session)
            binding.transport.lose(binding.protocol)
        line = "192.0.2.2:40000 - BIND 198.51.100.2:80 via 198.51.100.2:80"
        self.assertEqual(
            self.lines(events),
            [line, f"{line}: closed, 0 bytes sent, 0 received in 0.000 s"],
        )
        self.assertEqual(events[0]["command"], "BIND")
        self.assertEqual(events[0]["address"], "198.51.100.2:80")

    def test_refused(self) -> None:
        """
        One for a wait that came to nothing, whoever did not want to wait.
        """
        with capturedLogs() as events:
            _, _, binding = self.waiting()
            binding.fail(TimedOut("nobody connected in time"))
            session, _, _ = self.waiting()
            session.readConnectionLost()
        line = "192.0.2.2:40000 - BIND 198.51.100.2:80 refused"
        self.assertEqual(
            self.lines(events),
            [
                f"{line}: nobody connected in time (reply 04)",
                f"{line}: the client left while it waited",
            ],
        )
        self.assertNotIn("reply", events[1])
