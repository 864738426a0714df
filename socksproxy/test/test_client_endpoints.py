"""
Tests for L{socksproxy.client.endpoints}, in memory and with our own server at
the other end.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionRefusedError,
    NoProtocol,
)
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy import client
from socksproxy.auth.password import PasswordAuthenticator
from socksproxy.client.endpoints import (
    HTTPConnectClientEndpoint,
    SOCKS4ClientEndpoint,
    SOCKS5ClientEndpoint,
)
from socksproxy.client.errors import (
    LoginRefused,
    NoAcceptableMethod,
    ProxyProtocolError,
    ProxyTimedOut,
    ProxyUnreachable,
)
from socksproxy.client.login import NoLogin, PasswordLogin
from socksproxy.errors import ConnectionRefused, HostUnreachable, TimedOut
from socksproxy.interfaces import Continue, Denied
from socksproxy.server.factory import SOCKS5Factory
from socksproxy.test.proxyline import (
    Line,
    MemoryEndpoint,
    Recorder,
    ended,
    join,
    recorders,
)
from socksproxy.test.source import sourceFile
from socksproxy.test.test_client_socks5 import REQUEST, SUCCESS
from socksproxy.testing import FakeBinder
from socksproxy.wire.address import Address

LOGINS: dict[bytes, bytes] = {b"ann": b"s3cret"}


class EndpointTestCase(SynchronousTestCase):
    """
    An endpoint that leads to a proxy in memory.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.inner = MemoryEndpoint()
        self.factory = recorders()

    def socks5(self, *methods: Any, **options: Any) -> SOCKS5ClientEndpoint:
        return SOCKS5ClientEndpoint(
            self.clock,
            self.inner,
            "example.org",
            443,
            methods or (NoLogin(),),
            **options,
        )

    def connect(self, endpoint: IStreamClientEndpoint) -> Deferred[Any]:
        """
        Begin to connect; there is a connection to the proxy.
        """
        connecting: Deferred[IProtocol] = endpoint.connect(self.factory)
        self.line = self.inner.arrive()
        return connecting


class ConnectTests(EndpointTestCase):
    """
    What holds for all three.
    """

    def all(self) -> list[tuple[IStreamClientEndpoint, list[bytes]]]:
        """
        Each endpoint, and what its proxy says.
        """
        where = (self.clock, self.inner, "example.org", 443)
        return [
            (SOCKS5ClientEndpoint(*where), [b"\x05\0", SUCCESS]),
            (SOCKS4ClientEndpoint(*where), [b"\0\x5a" + bytes(6)]),
            (HTTPConnectClientEndpoint(*where), [b"HTTP/1.1 200 OK\r\n\r\n"]),
        ]

    def test_connected(self) -> None:
        """
        The protocol has the proxy's connection, and its factory was told of the
        target and of its start.
        """
        for endpoint, answers in self.all():
            verifyObject(IStreamClientEndpoint, endpoint)
            self.factory = recorders()
            connecting = self.connect(endpoint)
            self.assertEqual(self.factory.numPorts, 1)
            for answer in answers:
                self.assertNoResult(connecting)
                self.line.receive(answer)
            protocol = self.successResultOf(connecting)
            self.assertEqual(self.factory.built, [protocol])
            self.assertIs(self.line.protocol, protocol)
            expected = HostnameAddress(b"example.org", 443)
            self.assertEqual(self.factory.addresses, [expected])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unreachable(self) -> None:
        """
        A proxy that cannot be reached is told from a target that cannot.
        """
        for endpoint, _ in self.all():
            connecting = endpoint.connect(self.factory)
            cause = ConnectionRefusedError()
            self.inner.waiting.errback(cause)
            wrong = self.failureResultOf(connecting, ProxyUnreachable).value
            self.assertIs(wrong.__cause__, cause)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """
        It can be cancelled at every stage, and everything is closed then.
        """
        for index, (_, answers) in enumerate(self.all()):
            endpoint = self.all()[index][0]
            connecting = endpoint.connect(self.factory)
            connecting.cancel()
            self.failureResultOf(connecting, CancelledError)
            self.assertTrue(self.inner.cancelled)
            for stage in range(len(answers)):
                connecting = self.connect(self.all()[index][0])
                for answer in answers[:stage]:
                    self.line.receive(answer)
                connecting.cancel()
                self.failureResultOf(connecting, CancelledError)
                self.assertTrue(self.line.aborted)
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.factory.built, [])

    def test_deadline(self) -> None:
        """
        It takes no longer than it may, at whatever stage.  A proxy that did not
        get as far as the request is told from one that did.
        """
        for endpoint, answers in self.all():
            connecting = endpoint.connect(self.factory)
            self.clock.advance(29.9)
            self.assertNoResult(connecting)
            self.clock.advance(0.2)
            self.failureResultOf(connecting, ProxyTimedOut)
            self.assertTrue(self.inner.cancelled)
            connecting = self.connect(endpoint)
            for answer in answers[:-1]:
                self.line.receive(answer)
            self.clock.advance(30)
            self.failureResultOf(connecting, TimedOut)
            self.assertTrue(self.line.aborted)
        connecting = self.connect(self.all()[0][0])
        self.clock.advance(30)
        self.failureResultOf(connecting, ProxyTimedOut)

    def test_deadlineOfInner(self) -> None:
        """
        Also where the inner endpoint has errors of its own for that.
        """
        endpoint = self.socks5()

        def cancel(waiting: Deferred[IProtocol]) -> None:
            waiting.errback(ConnectingCancelledError(None))

        self.patch(self.inner, "_cancel", cancel)
        connecting = endpoint.connect(self.factory)
        self.clock.advance(30)
        self.failureResultOf(connecting, ProxyTimedOut)

    def test_noDeadline(self) -> None:
        """
        C{0} is no limit.
        """
        self.connect(self.socks5(timeout=0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_addresses(self) -> None:
        """
        An IP address is told as one, whatever its family.
        """
        for host, expected in (
            ("192.0.2.7", IPv4Address("TCP", "192.0.2.7", 443)),
            (b"[2001:db8::1]", IPv6Address("TCP", "2001:db8::1", 443)),
        ):
            self.factory = recorders()
            endpoint = SOCKS5ClientEndpoint(self.clock, self.inner, host, 443)
            self.connect(endpoint)
            self.line.receive(b"\x05\0" + SUCCESS)
            self.assertEqual(self.factory.addresses, [expected])

    def test_impossible(self) -> None:
        """
        A host or port that cannot be is refused before anything is sent.
        """
        for kind in (
            SOCKS5ClientEndpoint,
            SOCKS4ClientEndpoint,
            HTTPConnectClientEndpoint,
        ):
            for host, port in (("", 80), ("a\0b", 80), ("a", -1), ("a", 65536)):
                self.assertRaises(ValueError, kind, None, None, host, port)

    def test_nested(self) -> None:
        """
        Each may lead to the next.
        """
        where = (self.clock, self.inner, "second.example", 1080)
        through = HTTPConnectClientEndpoint(*where)
        endpoint = SOCKS5ClientEndpoint(self.clock, through, "example.org", 443)
        connecting = self.connect(endpoint)
        self.assertIn(b"CONNECT second.example:1080", self.line.taken())
        self.line.receive(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertEqual(self.line.taken(), b"\x05\x01\0")
        self.line.receive(b"\x05\0" + SUCCESS + b"hello")
        protocol = self.successResultOf(connecting)
        self.assertIs(self.line.protocol, protocol)
        self.assertIs(protocol.transport, self.line)
        self.assertEqual(protocol.received, b"hello")

    def test_nestedFails(self) -> None:
        """
        What the first proxy says about the second says nothing about the target.
        """
        where = (self.clock, self.inner, "second.example", 1080)
        through = HTTPConnectClientEndpoint(*where)
        endpoint = SOCKS5ClientEndpoint(self.clock, through, "example.org", 443)
        connecting = self.connect(endpoint)
        self.line.receive(b"HTTP/1.1 502 Bad\r\n\r\n")
        wrong = self.failureResultOf(connecting, ProxyUnreachable).value
        self.assertIsInstance(wrong.__cause__, HostUnreachable)

    def test_nothingSecretInRepr(self) -> None:
        """
        A password is in no text of an endpoint.
        """
        login = PasswordLogin("ann", "s3cret")
        for endpoint in (
            self.socks5(login),
            HTTPConnectClientEndpoint(self.clock, self.inner, "h", 1, login),
        ):
            self.assertNotIn("s3cret", repr(endpoint) + str(endpoint))


class _Talkative(Recorder):
    """
    Speaks first.
    """

    greeting = b"hello"


class OptimisticTests(EndpointTestCase):
    """
    Everything at once.
    """

    def test_connected(self) -> None:
        """
        The protocol is connected as soon as there is a connection to the proxy,
        and what it says is behind the request.
        """
        self.factory = recorders(_Talkative)
        connecting = self.connect(self.socks5(optimistic=True))
        protocol = self.successResultOf(connecting)
        self.assertEqual(self.line.taken(), b"\x05\x01\0" + REQUEST + b"hello")
        self.line.receive(b"\x05")
        self.line.receive(b"\0" + SUCCESS + b"late")
        self.assertEqual(protocol.log, ["made", b"late"])
        self.assertIs(self.line.protocol, protocol)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """
        A refusal is why the connection is lost.
        """
        protocol = self.successResultOf(self.connect(self.socks5(optimistic=True)))
        self.line.receive(b"\x05\0\x05\x05\0\x01" + bytes(6))
        self.assertEqual(protocol.log, ["made", "lost"])
        protocol.lost.trap(ConnectionRefused)
        self.assertTrue(self.line.aborted)
        self.line.gone()
        self.assertEqual(protocol.log, ["made", "lost"])

    def test_closed(self) -> None:
        """
        So is a proxy that closes instead of answering.
        """
        protocol = self.successResultOf(self.connect(self.socks5(optimistic=True)))
        self.line.gone()
        protocol.lost.trap(ProxyProtocolError)

    def test_deadline(self) -> None:
        """
        And one that does not answer.
        """
        protocol = self.successResultOf(self.connect(self.socks5(optimistic=True)))
        self.clock.advance(30)
        protocol.lost.trap(ProxyTimedOut)
        self.assertTrue(self.line.aborted)
        self.line.gone()
        self.assertEqual(protocol.log, ["made", "lost"])

    def test_nested(self) -> None:
        """
        A chain of them takes one round trip.
        """
        login = PasswordLogin("ann", "pw")
        through = self.socks5(login, optimistic=True)
        endpoint = SOCKS5ClientEndpoint(
            self.clock, through, "far.example", 25, optimistic=True
        )
        self.factory = recorders(_Talkative)
        protocol = self.successResultOf(self.connect(endpoint))
        sent = self.line.taken()
        self.assertIn(b"\x0bexample.org", sent)
        self.assertIn(b"\x0bfar.example", sent)
        self.assertTrue(sent.endswith(b"hello"))
        for octet in b"\x05\x02\x01\0" + SUCCESS + b"\x05\0" + SUCCESS + b"220":
            self.line.receive(bytes((octet,)))
        self.assertEqual(protocol.received, b"220")
        self.assertIs(self.line.protocol, protocol)

    def test_noProtocol(self) -> None:
        """
        Where nobody wants it after all, nothing is left, and nothing is logged.
        """
        self.patch(self.factory, "buildProtocol", lambda addr: None)
        connecting = self.connect(self.socks5(optimistic=True))
        self.failureResultOf(connecting, NoProtocol)
        self.assertTrue(self.line.aborted)
        self.line.gone()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_needsOneWay(self) -> None:
        """
        It does not go with a choice of methods.
        """
        login = PasswordLogin("ann", "pw")
        self.assertRaises(ValueError, self.socks5, NoLogin(), login, optimistic=True)


class _Resolver:
    """
    The reactor's name resolver.
    """

    def resolveHostName(self, receiver: Any, *what: Any, **how: Any) -> None:
        self.receiver = receiver


class SOCKS4Tests(EndpointTestCase):
    """
    Names, which not every SOCKS4 proxy resolves.
    """

    def setUp(self) -> None:
        super().setUp()
        self.resolver: Any = _Resolver()
        reactor: Any = self.clock
        reactor.nameResolver = self.resolver

    def socks4(self, host: str) -> SOCKS4ClientEndpoint:
        return SOCKS4ClientEndpoint(
            self.clock, self.inner, host, 443, b"ann", socks4a=False
        )

    def test_resolvedHere(self) -> None:
        """
        Without 4a a name is resolved here.
        """
        connecting = self.socks4("example.org").connect(self.factory)
        self.resolver.receiver.addressResolved(IPv4Address("TCP", "192.0.2.7", 443))
        line = self.inner.arrive()
        self.assertEqual(line.taken(), b"\x04\x01\x01\xbb\xc0\0\x02\x07ann\0")
        line.receive(b"\0\x5a" + bytes(6))
        self.successResultOf(connecting)

    def test_bind(self) -> None:
        """
        So it is for BIND.
        """
        binding = self.socks4("example.org").bind(self.factory)
        self.resolver.receiver.addressResolved(IPv4Address("TCP", "192.0.2.7", 443))
        line = self.inner.arrive()
        self.assertEqual(line.taken(), b"\x04\x02\x01\xbb\xc0\0\x02\x07ann\0")
        line.receive(b"\0\x5a" + bytes(6))
        self.successResultOf(binding)

    def test_notInTime(self) -> None:
        """
        That has the same deadline.
        """
        for ask in (SOCKS4ClientEndpoint.connect, SOCKS4ClientEndpoint.bind):
            asking = ask(self.socks4("example.org"), self.factory)
            self.clock.advance(30)
            self.failureResultOf(asking, TimedOut)

    def test_address(self) -> None:
        """
        An address is not resolved.
        """
        self.socks4("192.0.2.7").connect(self.factory)
        self.assertIn(b"\xc0\0\x02\x07", self.inner.arrive().taken())


class OurServerTests(EndpointTestCase):
    """
    Our client and our server, in whatever pieces their bytes come.
    """

    SIZES = (1, 10, 1 << 16)

    def serve(self, **options: Any) -> None:
        """
        Our server is the proxy.
        """
        self.connector = FakeBinder()
        self.server = SOCKS5Factory(
            None, connector=self.connector, clock=self.clock, **options
        )

    def reached(self) -> None:
        """
        The client has connected to it.
        """
        self.line = self.inner.arrive()
        self.theirs = Line()
        session = self.server.buildProtocol(self.theirs.getPeer())
        self.theirs.protocol = session
        session.makeConnection(self.theirs)

    def test_connect(self) -> None:
        """
        A request, and bytes both ways.
        """
        for size in self.SIZES:
            for methods, checkers in (
                ((NoLogin(),), None),
                ((NoLogin(), PasswordLogin("ann", "s3cret")), LOGINS),
            ):
                self.serve(authenticators=_authenticators(checkers))
                connecting = self.socks5(*methods).connect(self.factory)
                self.reached()
                join(self.line, self.theirs, size)
                attempt = self.connector.attempts[0]
                destination = attempt.request.destination
                self.assertEqual(destination, Address.name("example.org", 443))
                self.assertEqual(attempt.request.identity.name, "ann" * bool(checkers))
                target = attempt.connect()
                join(self.line, self.theirs, size)
                protocol: Any = self.successResultOf(connecting)
                protocol.transport.write(b"from the client")
                attempt.protocol.dataReceived(b"from the target")
                join(self.line, self.theirs, size)
                self.assertEqual(protocol.received, b"from the target")
                self.assertEqual(b"".join(target.writes), b"from the client")

    def test_optimistic(self) -> None:
        """
        The same for what does not wait.
        """
        for size in self.SIZES:
            self.serve(authenticators=_authenticators(LOGINS))
            login = PasswordLogin("ann", "s3cret")
            self.factory = recorders(_Talkative)
            self.socks5(login, optimistic=True).connect(self.factory)
            self.reached()
            join(self.line, self.theirs, size)
            target = self.connector.attempts[0].connect()
            self.connector.attempts[0].protocol.dataReceived(b"220")
            join(self.line, self.theirs, size)
            self.assertEqual(b"".join(target.writes), b"hello")
            self.assertEqual(self.factory.built[0].received, b"220")

    def test_failures(self) -> None:
        """
        Every failure of the server's connector is the same one at the client.
        """
        for failure in (ConnectionRefused(), HostUnreachable()):
            for size in self.SIZES:
                self.serve()
                connecting = self.socks5().connect(self.factory)
                self.reached()
                join(self.line, self.theirs, size)
                self.connector.attempts[0].fail(failure)
                join(self.line, self.theirs, size)
                self.failureResultOf(connecting, type(failure))
                self.assertTrue(ended(self.line))

    def test_logins(self) -> None:
        """
        A login that is refused, and one that is missing.
        """
        for methods, kind in (
            ((PasswordLogin("ann", "wrong"),), LoginRefused),
            ((NoLogin(),), NoAcceptableMethod),
        ):
            for size in self.SIZES:
                self.serve(authenticators=_authenticators(LOGINS))
                connecting = self.socks5(*methods).connect(self.factory)
                self.reached()
                join(self.line, self.theirs, size)
                self.failureResultOf(connecting, kind)

    def test_privateMethod(self) -> None:
        """
        A method of one's own, as the documentation prints it, and one that is told
        that we are not known.
        """
        text = sourceFile("docs/client.rst").read_text()
        printed = re.search(r"   @implementer.*?pass\n", text, re.DOTALL)
        assert printed is not None
        names: dict[str, Any] = {
            "implementer": implementer,
            "Continue": Continue,
            "Denied": Denied,
            **vars(client),
        }
        exec(textwrap.dedent(printed[0]), names)
        for answer, kind in ((b"\x00", None), (b"\x01", LoginRefused)):
            connecting = self.socks5(names["SecretByte"]()).connect(self.factory)
            line = self.inner.arrive()
            line.receive(b"\x05\x80")
            self.assertEqual(line.taken(), b"\x05\x01\x80\x2a")
            line.receive(answer)
            if kind is None:
                self.assertEqual(line.taken(), REQUEST)
                line.receive(SUCCESS)
                self.successResultOf(connecting)
            else:
                self.failureResultOf(connecting, kind)

    def test_bind(self) -> None:
        """
        Two replies, and the connection.
        """
        for size in self.SIZES:
            self.serve()
            binding = self.socks5().bind(self.factory)
            self.reached()
            join(self.line, self.theirs, size)
            theirs = self.connector.bindings[0]
            theirs.listen()
            join(self.line, self.theirs, size)
            ours: Any = self.successResultOf(binding)
            self.assertEqual(ours.address, Address.ip("198.51.100.1", 50000))
            self.assertNoResult(ours.accepted)
            theirs.connect()
            theirs.protocol.dataReceived(b"220")
            join(self.line, self.theirs, size)
            protocol = self.successResultOf(ours.accepted)
            self.assertEqual(ours.peer, Address.ip("198.51.100.2", 80))
            self.assertEqual(protocol.received, b"220")


def _authenticators(logins: dict[bytes, bytes] | None) -> Any:
    if logins is None:
        return None
    checker = InMemoryUsernamePasswordDatabaseDontUse()
    checker.users = logins
    return [PasswordAuthenticator([checker])]
