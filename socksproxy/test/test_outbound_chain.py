"""
Tests for L{socksproxy.outbound.chain}, L{socksproxy.outbound.leading} and
L{socksproxy.outbound.carried}.
"""

from __future__ import annotations

import errno
import os
import ssl
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectBindError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.client.errors import (
    LoginRefused,
    ProxyProtocolError,
    ProxyTimedOut,
    ProxyUnreachable,
)
from socksproxy.errors import (
    AddressTypeNotSupported,
    CommandNotSupported,
    ConnectionRefused,
    NotAllowed,
)
from socksproxy.interfaces import (
    IAccessPolicy,
    IAssociation,
    IAssociator,
    IBinder,
    IBinding,
    IConnector,
    Identity,
    ISession,
    Request,
)
from socksproxy.outbound.chain import ChainConnector
from socksproxy.outbound.hop import Hop
from socksproxy.test.proxyline import Line, Recorder, ended, recorders
from socksproxy.test.test_auth_certificate import noTLS
from socksproxy.test.test_client_association import Receiver
from socksproxy.test.test_client_socks5 import SUCCESS
from socksproxy.testing import FakeAssociator, FakeAttempt, FakeConnector, FakeSession
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command
from socksproxy.wire.socks5 import Datagram

if not noTLS:
    from twisted.internet.ssl import CertificateOptions
    from twisted.protocols import tls

    from socksproxy.test.authority import Authority

TARGET = Address.name("example.org", 443)
NUMBER = Address.ip("198.51.100.7", 80)
IDENTITY = Identity("ann")


@implementer(IAccessPolicy)
class Refusing:
    """
    Refuses some addresses.

    @ivar asked: what it was asked about.
    """

    def __init__(self, *hosts: str) -> None:
        self._hosts = hosts
        self.asked: list[Address] = []

    def permitsRequest(self, request: Request, session: ISession) -> bool:
        return True

    def permitsAddress(
        self, address: Address, request: Request, session: ISession
    ) -> bool:
        self.asked.append(address)
        return address.host not in self._hosts


class Resolver:
    """
    Knows one name.
    """

    def __init__(self, *hosts: str) -> None:
        self._hosts = hosts

    def resolve(self, name: Address) -> Deferred[list[Address]]:
        return succeed([Address.ip(host, name.port) for host in self._hosts])


class ToldLine(Line):
    """
    One that is told what a proxy says of its ends.
    """

    host: Address | None = None
    peer: Address | None = None

    def tellEnds(self, host: Address | None, peer: Address | None) -> None:
        self.host = host or self.host
        self.peer = peer or self.peer


class ChainTestCase(SynchronousTestCase):
    """
    A proxy behind a connector that the test decides for.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.inner: Any = FakeAssociator()
        self.policy = Refusing("203.0.113.9")
        self.session = FakeSession(self.policy)
        self.factory = recorders()

    def chain(self, url: str = "socks5://proxy.example", **options: Any) -> Any:
        options.setdefault("inner", self.inner)
        return ChainConnector(self.clock, Hop.parse(url), **options)

    def request(
        self, destination: Address = TARGET, command: Command = Command.CONNECT
    ) -> Request:
        return Request(command, destination, IDENTITY)

    def connect(
        self, chain: Any = None, destination: Address = TARGET
    ) -> Deferred[Any]:
        connecting: Deferred[Any] = (chain or self.chain()).connect(
            self.request(destination), self.session, self.factory
        )
        return connecting

    def arrive(self, inner: Any = None) -> ToldLine:
        """
        There is a connection to the proxy.
        """
        attempt: FakeAttempt = (inner or self.inner).attempts[-1]
        line = ToldLine()
        attempt.connect(line)
        line.protocol = attempt.protocol
        return line


class ConnectTests(ChainTestCase):
    """
    CONNECT.
    """

    def test_interfaces(self) -> None:
        """
        It can be asked for everything.
        """
        for interface in (IConnector, IBinder, IAssociator):
            verifyObject(interface, self.chain())

    def test_connected(self) -> None:
        """
        The inner connector leads to the proxy, for the same user; the proxy gets
        the name, and the session's protocol the connection.
        """
        connecting = self.connect()
        asked = self.inner.attempts[0].request
        self.assertEqual(
            asked,
            Request(Command.CONNECT, Address.name("proxy.example", 1080), IDENTITY),
        )
        line = self.arrive()
        line.receive(b"\x05\0")
        self.assertTrue(line.taken().endswith(b"\x0bexample.org\x01\xbb"))
        line.receive(SUCCESS)
        protocol = self.successResultOf(connecting)
        self.assertIs(line.protocol, protocol)
        self.assertIs(protocol.transport, line)
        self.assertEqual(line.host, Address.ip("192.0.2.1", 1080))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_early(self) -> None:
        """
        What came with the answer is there before the session is told: its relay
        takes it when it starts.
        """
        connecting = self.connect()
        log: list[bytes] = []
        connecting.addCallback(lambda protocol: log.append(protocol.received))
        self.arrive().receive(b"\x05\0" + SUCCESS + b"220 hello")
        self.assertEqual(log, [b"220 hello"])

    def test_nested(self) -> None:
        """
        Chaining is nesting.
        """
        first = self.chain("http://first.example")
        second = self.chain("socks4a://second.example", inner=first, isFirst=False)
        connecting = self.connect(second)
        line = self.arrive()
        self.assertIn(b"CONNECT second.example:1080", line.taken())
        line.receive(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertEqual(line.taken(), b"\x04\x01\x01\xbb\0\0\0\x01\0example.org\0")
        line.receive(b"\0\x5a" + bytes(6) + b"220 hello")
        protocol = self.successResultOf(connecting)
        self.assertEqual(protocol.received, b"220 hello")
        self.assertIs(line.protocol, protocol)

    def test_reply(self) -> None:
        """
        What the proxy says of the target is what the client is told.
        """
        connecting = self.connect()
        line = self.arrive()
        line.receive(b"\x05\0\x05\x05\0\x01" + bytes(6))
        self.failureResultOf(connecting, ConnectionRefused)
        self.assertTrue(ended(line))

    def test_proxysFault(self) -> None:
        """
        What is a proxy's own trouble is told as that one's, without any secret,
        however many there are behind it.
        """
        first = self.chain("socks5://ann:s3cret@first.example")
        second = self.chain("socks5://second.example", inner=first, isFirst=False)
        for received, kind, words in (
            (b"\x05\x02\x01\x01", LoginRefused, "socks5://first.example:1080: "),
            (b"HTTP", ProxyProtocolError, "socks5://first.example:1080: "),
            (
                b"\x05\0\x05\x05\0\x01" + bytes(6),
                ProxyUnreachable,
                "no connection to socks5://second.example:1080: the proxy answered",
            ),
            (
                b"\x05\0" + SUCCESS + b"\x05\xff",
                None,
                "socks5://second.example:1080: ",
            ),
        ):
            connecting = self.connect(second)
            self.arrive().receive(received)
            failure = self.failureResultOf(connecting)
            if kind is not None:
                self.assertIs(failure.type, kind)
            self.assertTrue(str(failure.value).startswith(words), str(failure.value))
            self.assertNotIn("s3cret", failure.getTraceback())

    def test_unreachable(self) -> None:
        """
        A proxy that refuses is not a target that refuses.
        """
        connecting = self.connect()
        self.inner.attempts[0].fail(OSError(111, "Connection refused"))
        failure = self.failureResultOf(connecting, ProxyUnreachable)
        self.assertIn("socks5://proxy.example:1080", str(failure.value))

    def test_ourFault(self) -> None:
        """
        A fault of the inner connector stays one, to be logged; and so does what
        this machine has run out of, for which a proxy is not to blame.
        """
        for cause in (
            ZeroDivisionError(),
            OSError(errno.EMFILE, "too many"),
            ConnectBindError(errno.EMFILE, "too many"),
        ):
            connecting = self.connect()
            self.inner.attempts[-1].fail(cause)
            failure = self.failureResultOf(connecting, type(cause))
            self.assertIs(failure.value, cause)

    def test_cancel(self) -> None:
        """
        At every stage everything is closed.
        """
        connecting = self.connect()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertTrue(self.inner.attempts[0].cancelled)
        for received in (b"", b"\x05", b"\x05\0"):
            connecting = self.connect()
            line = self.arrive()
            line.receive(received)
            connecting.cancel()
            self.failureResultOf(connecting, CancelledError)
            self.assertTrue(line.aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_deadlines(self) -> None:
        """
        The proxy has so long to be connected to, and so long until it knows the
        request; how long it takes over that is the session's to say.
        """
        connecting = self.connect()
        self.clock.advance(9.9)
        self.assertNoResult(connecting)
        self.clock.advance(0.1)
        failure = self.failureResultOf(connecting, ProxyTimedOut)
        self.assertIn("socks5://proxy.example:1080", str(failure.value))
        connecting = self.connect()
        self.clock.advance(9)
        line = self.arrive()
        self.clock.advance(9.9)
        self.assertNoResult(connecting)
        self.clock.advance(0.1)
        failure = self.failureResultOf(connecting, ProxyTimedOut)
        self.assertIn("socks5://proxy.example:1080", str(failure.value))
        self.assertTrue(line.aborted)
        connecting = self.connect()
        self.arrive().receive(b"\x05\0")
        self.clock.advance(3600)
        self.assertNoResult(connecting)
        connecting.cancel()
        self.failureResultOf(connecting)

    def test_noDeadline(self) -> None:
        """
        C{0} is no limit.
        """
        connecting = self.connect(self.chain(timeout=0))
        line = self.arrive()
        self.clock.advance(3600)
        line.receive(b"HTTP")
        failure = self.failureResultOf(connecting, ProxyProtocolError)
        self.assertIn("socks5://proxy.example:1080", str(failure.value))

    def test_deadlinesOfNested(self) -> None:
        """
        Each proxy has its own.
        """
        first = self.chain("socks5://first.example")
        second = self.chain("socks5://second.example", inner=first, isFirst=False)
        connecting = self.connect(second)
        self.clock.advance(9)
        line = self.arrive()
        self.clock.advance(9)
        line.receive(b"\x05\0")
        self.clock.advance(100)
        line.receive(SUCCESS)
        self.clock.advance(9)
        self.assertNoResult(connecting)
        self.clock.advance(1)
        failure = self.failureResultOf(connecting, ProxyTimedOut)
        self.assertIn("second.example", str(failure.value))


class PolicyTests(ChainTestCase):
    """
    What the policy is asked.
    """

    def test_addresses(self) -> None:
        """
        It is asked about a target that is an address, before anything is done.
        """
        refused = Address.ip("203.0.113.9", 80)
        for url in ("socks5://h", "socks4://h", "http://h"):
            failing = self.connect(self.chain(url), refused)
            self.failureResultOf(failing, NotAllowed)
        self.assertEqual(self.inner.attempts, [])
        self.connect(destination=NUMBER)
        self.assertEqual(len(self.inner.attempts), 1)

    def test_namesAndProxies(self) -> None:
        """
        It is not asked about what the proxy resolves, nor about the proxy.
        """
        self.connect(self.chain("socks5://203.0.113.9"))
        attempt = self.inner.attempts[0]
        self.assertEqual(self.policy.asked, [])
        verifyObject(ISession, attempt.session)
        policy = attempt.session.policy
        verifyObject(IAccessPolicy, policy)
        self.assertTrue(policy.permitsRequest(attempt.request, attempt.session))
        refused = Address.ip("203.0.113.9", 1080)
        self.assertTrue(
            policy.permitsAddress(refused, attempt.request, attempt.session)
        )
        self.assertIs(attempt.session.peer, self.session.peer)
        self.assertIs(attempt.session.host, self.session.host)

    def test_resolvedHere(self) -> None:
        """
        For SOCKS4 without 4a names are resolved here: the first address that it
        can carry, and that is permitted, is it.
        """
        for hosts, wanted in (
            (("192.0.2.7", "192.0.2.8"), b"\xc0\0\x02\x07"),
            (("2001:db8::1", "203.0.113.9", "192.0.2.8"), b"\xc0\0\x02\x08"),
        ):
            chain = self.chain("socks4://h", resolver=Resolver(*hosts))
            self.connect(chain)
            self.assertIn(wanted, self.arrive().taken())
        for host, kind in (
            ("203.0.113.9", NotAllowed),
            ("2001:db8::1", AddressTypeNotSupported),
        ):
            chain = self.chain("socks4://h", resolver=Resolver(host))
            self.failureResultOf(self.connect(chain), kind)
        address = Address.ip("2001:db8::1", 80)
        failing = self.connect(self.chain("socks4://h"), address)
        self.failureResultOf(failing, AddressTypeNotSupported)


class BindTests(ChainTestCase):
    """
    BIND.
    """

    PEER = b"\x05\0\0\x01\xc6\x33\x64\x07\0\x50"  # 198.51.100.7:80

    def bind(self, url: str = "socks5://proxy.example") -> Deferred[Any]:
        request = self.request(Address.UNSPECIFIED, Command.BIND)
        binding: Deferred[Any] = self.chain(url).bind(
            request, self.session, self.factory
        )
        return binding

    def test_accepted(self) -> None:
        """
        The last proxy listens, and says who has connected; what came with that is
        there before the session is told.
        """
        binding = self.bind()
        self.assertEqual(self.inner.attempts[0].request.command, Command.CONNECT)
        line = self.arrive()
        line.receive(b"\x05\0" + SUCCESS)
        bound = self.successResultOf(binding)
        verifyObject(IBinding, bound)
        self.assertEqual(bound.address, Address.ip("192.0.2.1", 1080))
        log: list[Recorder] = []
        bound.accepted.addCallback(lambda protocol: log.append(protocol.received))
        line.receive(self.PEER + b"220 hello")
        self.assertEqual(log, [b"220 hello"])
        self.assertEqual(line.peer, NUMBER)
        self.assertEqual(self.policy.asked, [NUMBER])

    def test_refused(self) -> None:
        """
        The policy is asked about who has connected.
        """
        self.policy = Refusing("198.51.100.7")
        self.session.policy = self.policy
        binding = self.bind()
        line = self.arrive()
        line.receive(b"\x05\0" + SUCCESS)
        bound = self.successResultOf(binding)
        line.receive(self.PEER)
        self.failureResultOf(bound.accepted, NotAllowed)
        self.assertTrue(line.aborted)
        self.assertEqual(self.factory.built, [])

    def test_refusedByFault(self) -> None:
        """
        Whatever the policy makes of it, nothing is left open.
        """
        binding = self.bind()
        self.patch(self.policy, "permitsAddress", lambda *asked: 1 // 0)
        line = self.arrive()
        line.receive(b"\x05\0" + SUCCESS)
        bound = self.successResultOf(binding)
        line.receive(self.PEER)
        self.failureResultOf(bound.accepted, ZeroDivisionError)
        self.assertTrue(line.aborted)

    def test_name(self) -> None:
        """
        A name is the other proxy's to judge.
        """
        binding = self.bind()
        line = self.arrive()
        line.receive(b"\x05\0" + SUCCESS)
        bound = self.successResultOf(binding)
        line.receive(b"\x05\0\0\x03\x01a\0\x50")
        self.successResultOf(bound.accepted)
        self.assertEqual(bound.peer, Address.name("a", 80))
        self.assertEqual(self.policy.asked, [])

    def test_listensWhere(self) -> None:
        """
        A proxy behind another that leaves its address out has the one that we
        know.
        """
        first = self.chain("socks5://first.example")
        second = self.chain("socks5://192.0.2.99", inner=first, isFirst=False)
        request = self.request(Address.UNSPECIFIED, Command.BIND)
        binding = second.bind(request, self.session, self.factory)
        line = self.arrive()
        line.receive(b"\x05\0" + SUCCESS)
        line.receive(b"\x05\0\x05\0\0\x01\0\0\0\0\0\x07")
        bound = self.successResultOf(binding)
        self.assertEqual(bound.address, Address.ip("192.0.2.99", 7))
        bound.accepted.cancel()
        self.failureResultOf(bound.accepted)

    def test_HTTP(self) -> None:
        """
        HTTP has no such thing.
        """
        self.failureResultOf(self.bind("http://h"), CommandNotSupported)
        self.assertEqual(self.inner.attempts, [])


class AssociateTests(ChainTestCase):
    """
    UDP ASSOCIATE.
    """

    RELAY = Address.ip("192.0.2.1", 1080)

    def setUp(self) -> None:
        super().setUp()
        self.receiver = Receiver()

    def associate(self, chain: Any = None) -> Deferred[Any]:
        request = self.request(Address.ip("192.0.2.77", 7), Command.UDP_ASSOCIATE)
        associating: Deferred[Any] = (chain or self.chain()).associate(
            request, self.session, self.receiver
        )
        return associating

    def associated(self, chain: Any = None) -> Any:
        associating = self.associate(chain)
        self.carrier = self.inner.associations[-1]
        self.carrier.associate()
        self.line = self.arrive()
        self.line.receive(b"\x05\0")
        self.assertTrue(self.line.taken().endswith(b"\x05\x03\0\x01" + bytes(6)))
        self.line.receive(SUCCESS)
        return self.successResultOf(associating)

    def test_bothWays(self) -> None:
        """
        Datagrams go to the proxy's relay and come from there.
        """
        association = self.associated()
        verifyObject(IAssociation, association)
        association.send(b"there", NUMBER)
        association.send(b"there", TARGET)
        self.assertEqual(
            self.carrier.sent,
            [
                (Datagram(NUMBER, b"there").encode(), self.RELAY),
                (Datagram(TARGET, b"there").encode(), self.RELAY),
            ],
        )
        packet = Datagram(NUMBER, b"back").encode()
        self.carrier.receiver.datagramReceived(packet, self.RELAY)
        self.carrier.receiver.datagramReceived(packet, Address.ip("192.0.2.1", 9))
        self.carrier.receiver.datagramReceived(b"junk", self.RELAY)
        self.assertEqual(self.receiver.received, [(b"back", NUMBER)])

    def test_policy(self) -> None:
        """
        Every address is put before the policy.
        """
        association = self.associated()
        association.send(b"no", Address.ip("203.0.113.9", 53))
        self.assertEqual(self.carrier.sent, [])
        self.assertEqual(self.receiver.dropped, [b"no"])

    def test_dropped(self) -> None:
        """
        What is dropped on the way to the proxy is told as it was given.
        """
        association = self.associated()
        association.send(b"lost", NUMBER)
        self.carrier.receiver.datagramDropped(self.carrier.sent[0][0])
        self.carrier.receiver.datagramDropped(b"?")
        self.assertEqual(self.receiver.dropped, [b"lost"])

    def test_close(self) -> None:
        """
        Both connections are closed together.
        """
        association = self.associated()
        association.close()
        self.assertTrue(self.line.aborted)
        self.assertEqual(self.carrier.closed, 1)
        association.send(b"late", NUMBER)
        self.assertEqual(self.receiver.dropped, [b"late"])
        packet = Datagram(NUMBER, b"back").encode()
        self.carrier.receiver.datagramReceived(packet, self.RELAY)
        self.assertEqual(self.receiver.received, [])

    def test_lost(self) -> None:
        """
        When the proxy ends it, that is told, and nothing is sent any more.
        """
        association = self.associated()
        self.line.gone()
        self.assertEqual(self.receiver.lost, 1)
        self.assertEqual(self.carrier.closed, 1)
        association.send(b"late", NUMBER)
        self.assertEqual(self.receiver.dropped, [b"late"])
        association.close()

    def test_lostOnTheWay(self) -> None:
        """
        The same when another proxy on the way ends it, also while this one is
        asked.
        """
        association = self.associated()
        self.carrier.receiver.associationLost()
        self.assertEqual(self.receiver.lost, 1)
        association.close()
        self.assertTrue(self.line.aborted)
        associating = self.associate()
        carrier = self.inner.associations[-1]
        carrier.associate()
        line = self.arrive()
        carrier.receiver.associationLost()
        line.receive(b"\x05\0" + SUCCESS)
        self.failureResultOf(associating, ProxyUnreachable)
        self.assertTrue(line.aborted)
        self.assertEqual(self.receiver.lost, 1)

    def test_fails(self) -> None:
        """
        When the proxy refuses, nothing is left.
        """
        associating = self.associate()
        self.inner.associations[0].associate()
        line = self.arrive()
        line.receive(b"\x05\0\x05\x07\0\x01" + bytes(6))
        self.failureResultOf(associating, CommandNotSupported)
        self.assertEqual(self.inner.associations[0].closed, 1)
        self.assertTrue(ended(line))

    def test_cancel(self) -> None:
        """
        Nor when the client leaves.
        """
        associating = self.associate()
        associating.cancel()
        self.assertTrue(self.inner.associations[0].cancelled)
        self.failureResultOf(associating)
        associating = self.associate()
        self.inner.associations[1].associate()
        line = self.arrive()
        associating.cancel()
        self.failureResultOf(associating)
        self.assertTrue(line.aborted)
        self.assertEqual(self.inner.associations[1].closed, 1)

    def test_notSupported(self) -> None:
        """
        Every proxy on the way has to relay datagrams.
        """
        for url in ("socks4a://h", "http://h"):
            failing = self.associate(self.chain(url))
            self.failureResultOf(failing, CommandNotSupported)
        failing = self.associate(self.chain(inner=FakeConnector()))
        self.failureResultOf(failing, CommandNotSupported)

    def test_nested(self) -> None:
        """
        Through two of them a datagram has two headers.
        """
        first = self.chain("socks5://first.example")
        second = self.chain("socks5://second.example", inner=first, isFirst=False)
        associating = self.associate(second)
        carrier = self.inner.associations[0]
        carrier.associate()
        one = self.arrive()
        one.receive(b"\x05\0" + SUCCESS)
        two = self.arrive()
        two.receive(b"\x05\0" + SUCCESS)
        # The second one leaves its address out.
        two.receive(b"\x05\0\x05\0\0\x01\0\0\0\0\0\x07")
        association = self.successResultOf(associating)
        association.send(b"there", NUMBER)
        relay = Address.name("second.example", 7)
        inner = Datagram(NUMBER, b"there").encode()
        outer = Datagram(relay, inner).encode()
        self.assertEqual(carrier.sent, [(outer, self.RELAY)])
        source = Address.ip("192.0.2.50", 7)
        for data, origin in ((b"back", source), (b"evil", Address.ip("192.0.2.6", 6))):
            inner = Datagram(NUMBER, data).encode()
            outer = Datagram(origin, inner).encode()
            carrier.receiver.datagramReceived(outer, self.RELAY)
        self.assertEqual(self.receiver.received, [(b"back", NUMBER)])
        association.close()
        self.assertTrue(one.aborted and two.aborted)
        self.assertEqual(carrier.closed, 1)


class ProbeTests(ChainTestCase):
    """
    Is it there?
    """

    def test_probe(self) -> None:
        """
        A connection is enough.
        """
        probing = self.chain().probe()
        line = self.arrive()
        self.successResultOf(probing)
        self.assertTrue(line.aborted)
        self.assertEqual(line.taken(), b"")
        session = self.inner.attempts[0].session
        self.assertIsInstance(session.peer, IPv4Address)
        self.assertIsInstance(session.host, IPv4Address)

    def test_fails(self) -> None:
        """
        None, or none in time, is not.
        """
        probing = self.chain().probe()
        self.inner.attempts[0].fail(OSError(111, "Connection refused"))
        self.failureResultOf(probing, ProxyUnreachable)
        probing = self.chain().probe()
        self.clock.advance(10)
        self.failureResultOf(probing, ProxyTimedOut)


class TLSProxy:
    """
    The other end of the way to a proxy with TLS, in memory.
    """

    def __init__(self, line: ToldLine, path: str) -> None:
        """
        @param path: has its key and certificate.
        """
        self._line = line
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def secure(self) -> None:
        """
        Do the handshake, as far as the other side takes part.
        """
        for _ in range(4):
            self._incoming.write(self._line.taken())
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return  # It was told that it is not trusted.
            sent = self._outgoing.read()
            if sent:
                self._line.receive(sent)

    def say(self, data: bytes) -> None:
        self._tls.write(data)
        self._line.receive(self._outgoing.read())

    def taken(self) -> bytes:
        """
        What has come since this was asked last.
        """
        self._incoming.write(self._line.taken())
        try:
            return self._tls.read(1 << 16)
        except ssl.SSLWantReadError:
            return b""


class TLSTests(ChainTestCase):
    """
    TLS on the way to a proxy.
    """

    if noTLS:
        skip = noTLS

    def setUp(self) -> None:
        super().setUp()
        # Small writes wait for a moment.
        self.patch(tls, "_get_default_clock", lambda: self.clock)
        directory = self.mktemp()
        os.mkdir(directory)
        self.path = Authority(directory).server()

    def trusting(self) -> None:
        """
        Any certificate will do.
        """
        self.patch(Hop, "tlsOptions", lambda hop: CertificateOptions())

    def tls(self) -> TLSProxy:
        """
        There is a connection to the proxy.
        """
        self.line = self.arrive()
        return TLSProxy(self.line, self.path)

    def test_connected(self) -> None:
        """
        The proxy is asked once it is known who it is.
        """
        self.trusting()
        for url, said, answer in (
            (
                "https://127.0.0.1",
                b"CONNECT example.org:443",
                b"HTTP/1.1 200 OK\r\n\r\n",
            ),
            ("socks5+tls://127.0.0.1", b"\x05\x01\0", b"\x05\0" + SUCCESS),
        ):
            connecting = self.connect(self.chain(url))
            proxy = self.tls()
            proxy.secure()
            self.clock.advance(0)
            self.assertTrue(proxy.taken().startswith(said))
            proxy.say(answer + b"220 hello")
            protocol = self.successResultOf(connecting)
            self.assertEqual(protocol.received, b"220 hello")
            self.clock.advance(0)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silent(self) -> None:
        """
        A proxy that does not get as far as the request is one that does not work,
        whichever protocol would be next.
        """
        for url in ("https://127.0.0.1", "socks5+tls://127.0.0.1"):
            connecting = self.connect(self.chain(url))
            line = self.arrive()
            self.clock.advance(9.9)
            self.assertNoResult(connecting)
            self.clock.advance(0.1)
            failure = self.failureResultOf(connecting, ProxyTimedOut)
            self.assertTrue(str(failure.value).startswith(url), str(failure.value))
            self.assertTrue(line.aborted)

    def test_cancelled(self) -> None:
        """
        Nor need it be waited for.
        """
        connecting = self.connect(self.chain("https://127.0.0.1"))
        line = self.arrive()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertTrue(line.aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost(self) -> None:
        """
        It closes, or says something else.
        """
        for said in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"):
            connecting = self.connect(self.chain("https://127.0.0.1"))
            line = self.arrive()
            if said:
                line.receive(said)
            line.gone()
            self.failureResultOf(connecting, ProxyProtocolError)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_probe(self) -> None:
        """
        To be there is not enough: it has to be the right one.
        """
        chain = self.chain("https://127.0.0.1")
        probing = chain.probe()
        proxy = self.tls()
        self.assertNoResult(probing)
        proxy.secure()
        self.assertTrue(ended(self.line))
        self.line.gone()
        failure = self.failureResultOf(probing, ProxyProtocolError)
        self.assertIn("https://127.0.0.1:443: ", str(failure.value))
        self.assertIn("certificate", str(failure.value))
        self.trusting()
        probing = chain.probe()
        proxy = self.tls()
        self.assertNoResult(probing)
        proxy.secure()
        self.successResultOf(probing)
        probing = chain.probe()
        self.arrive()
        self.clock.advance(10)
        self.failureResultOf(probing, ProxyTimedOut)
