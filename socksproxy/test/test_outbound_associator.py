"""
Tests for L{socksproxy.outbound.associator}, with sockets on loopback, whose
datagrams are there as soon as they are sent.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.errors import HostUnreachable
from socksproxy.interfaces import (
    IAccessPolicy,
    IAssociation,
    IAssociator,
    IDatagramReceiver,
    ISession,
    Request,
)
from socksproxy.outbound import associator as module
from socksproxy.outbound.associator import QUEUED, QUEUED_BYTES, Associator, Filter
from socksproxy.outbound.direct import DirectConnector
from socksproxy.outbound.localend import ANY_LOCAL_END, LocalEnd
from socksproxy.outbound.resolver import IResolver
from socksproxy.relay.hub import Hub
from socksproxy.test.test_relay_hub import FakeReactor
from socksproxy.testing import FakeSession
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command

LARGE = b"x" * 60_000


@implementer(IDatagramReceiver)
class Receiver:
    """
    Remembers.
    """

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Address]] = []
        self.dropped: list[bytes] = []
        self.rejected: list[bytes] = []

    def datagramReceived(self, data: bytes, source: Address) -> None:
        self.received.append((data, source))

    def datagramDropped(self, data: bytes) -> None:
        self.dropped.append(data)

    def associationLost(self) -> None:
        raise AssertionError("nobody but us could close it")

    def datagramRejected(self, data: bytes) -> None:
        self.rejected.append(data)


@implementer(IResolver)
class Names:
    """
    Looks up nothing, unless it is told to.

    @ivar known: what it answers at once.
    """

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}
        self.asked: list[tuple[Address, Deferred[list[Address]]]] = []
        self.cancelled = 0

    def resolve(self, name: Address) -> Deferred[list[Address]]:
        def cancel(result: object) -> None:
            self.cancelled += 1

        result: Deferred[list[Address]] = Deferred(cancel)
        self.asked.append((name, result))
        if name.host in self.known:
            self.answer(len(self.asked) - 1, *self.known[name.host])
        return result

    def answer(self, number: int, *hosts: str) -> None:
        name, result = self.asked[number]
        result.callback([Address.ip(host, name.port) for host in hosts])


@implementer(IAccessPolicy)
class Rules:
    """
    Forbids some hosts; breaks down at C{None}.
    """

    def __init__(self) -> None:
        self.forbidden: set[str] | None = set()
        self.asked: list[Address] = []

    def permitsRequest(self, request: Request, session: ISession) -> bool:
        raise NotImplementedError("the session asks that")

    def permitsAddress(
        self, address: Address, request: Request, session: ISession
    ) -> bool:
        self.asked.append(address)
        if self.forbidden is None:
            raise ZeroDivisionError
        return address.host not in self.forbidden


class AssociatorTestCase(SynchronousTestCase):
    """
    An association with targets on loopback.
    """

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.receiver = Receiver()
        self.names = Names()
        self.rules = Rules()
        self.session = FakeSession(self.rules)
        self.request = Request(Command.UDP_ASSOCIATE, Address.UNSPECIFIED)
        self.association = self.associate()

    def associate(
        self,
        filter: Filter = Filter.NONE,
        localEnd: LocalEnd = ANY_LOCAL_END,
        hub: Any = None,
    ) -> Any:
        associator = Associator(self.reactor, self.names, hub, localEnd, filter)
        association = self.successResultOf(
            associator.associate(self.request, self.session, self.receiver)
        )
        self.addCleanup(association.close)
        return association

    def target(self, host: str = "127.0.0.1") -> tuple[socket.socket, Address]:
        """
        Somebody to send to.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        target = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(target.close)
        target.settimeout(60)
        target.bind((host, 0))
        return target, Address.ip(*target.getsockname()[:2])

    def read(self) -> None:
        """
        Take what has come.
        """
        for reader in self.reactor.readers:
            reader.doRead()


class SendingTests(AssociatorTestCase):
    """
    To addresses, and back.
    """

    def test_interfaces(self) -> None:
        """
        It is what a server expects, and the default connector is one too.
        """
        verifyObject(IAssociation, self.association)
        associator = Associator(self.reactor, self.names)
        verifyObject(IAssociator, associator)
        connector = DirectConnector(self.reactor, self.names)
        verifyObject(IAssociator, connector)
        association = self.successResultOf(
            connector.associate(self.request, self.session, self.receiver)
        )
        association.close()
        connector = DirectConnector(self.reactor, self.names, associator=associator)
        self.assertIs(connector._associator, associator)

    def test_bothFamilies(self) -> None:
        """
        It sends to IPv4 and IPv6 addresses, from one socket each, of any size,
        and hands over what comes with where it came from.
        """
        for host in ("127.0.0.1", "::1"):
            target, address = self.target(host)
            sources = set()
            for data in (b"data", b"", LARGE):
                self.association.send(data, address)
                received, source = target.recvfrom(65_535)
                self.assertEqual(received, data)
                sources.add(source)
                target.sendto(data, source)
                self.read()
                self.assertEqual(self.receiver.received.pop(), (data, address))
            self.assertEqual(len(sources), 1)
        self.assertEqual(len(self.reactor.readers), 2)
        self.assertEqual(self.receiver.dropped, [])

    def test_hub(self) -> None:
        """
        Its sockets are the hub's where there is one.
        """
        hub = Hub(self.reactor)
        association = self.associate(hub=hub)
        target, address = self.target()
        association.send(b"question", address)
        _, source = target.recvfrom(99)
        target.sendto(b"answer", source)
        hub.doRead()
        self.assertEqual(self.receiver.received, [(b"answer", address)])
        self.assertEqual(len(hub), 1)
        association.close()
        self.assertEqual(len(hub), 0)

    def test_nothingOpen(self) -> None:
        """
        There is no socket before it is needed.
        """
        self.assertEqual(self.reactor.readers, [])

    def test_anybodyAnswers(self) -> None:
        """
        What comes from hosts that nothing was sent to is handed over, too, with
        its true source.
        """
        target, address = self.target()
        self.association.send(b"x", address)
        _, source = target.recvfrom(9)
        for host in ("127.0.0.1", "127.0.0.2"):
            stranger, address = self.target(host)
            stranger.sendto(b"hello", source)
            self.read()
            self.assertEqual(self.receiver.received.pop(), (b"hello", address))

    def test_filterAddress(self) -> None:
        """
        With a filter by address only hosts that it has sent to are heard.
        """
        self.assertHeard(Filter.ADDRESS, [True, True, False])

    def test_filterPort(self) -> None:
        """
        With a filter by port only the very ports.
        """
        self.assertHeard(Filter.PORT, [True, False, False])

    def assertHeard(self, filter: Filter, expected: list[bool]) -> None:
        """
        Who is heard of: a target, another port of it, and another host.
        """
        association = self.associate(filter)
        target, address = self.target()
        association.send(b"x", address)
        _, source = target.recvfrom(9)
        heard = []
        for sender in (target, self.target()[0], self.target("127.0.0.2")[0]):
            sender.sendto(b"x", source)
            self.read()
            heard.append(bool(self.receiver.received))
            self.receiver.received.clear()
        self.assertEqual(heard, expected)
        self.assertEqual(self.receiver.rejected, [b"x"] * expected.count(False))

    def test_filterForgets(self) -> None:
        """
        It does not remember targets without end: the one that was sent to least
        lately is forgotten.
        """
        self.patch(module, "CONTACTED", 2)
        association = self.associate(Filter.PORT)
        targets = [self.target() for _ in range(3)]
        for number in (0, 1, 0, 2):
            association.send(b"x", targets[number][1])
        _, source = targets[0][0].recvfrom(9)
        for target, _ in targets:
            target.sendto(b"x", source)
        self.read()
        heard = [address for _, address in self.receiver.received]
        self.assertEqual(heard, [targets[0][1], targets[2][1]])

    def test_policy(self) -> None:
        """
        It is asked for each datagram, and what it forbids is dropped.
        """
        target, address = self.target()
        other = Address.ip("127.0.0.2", address.port)
        self.rules.forbidden = {"127.0.0.2"}
        for _ in range(2):
            self.association.send(b"yes", address)
            self.association.send(b"no", other)
        self.rules.forbidden = {"127.0.0.1"}
        self.association.send(b"not any more", address)
        self.assertEqual(self.rules.asked, [address, other] * 2 + [address])
        self.assertEqual(self.receiver.dropped, [b"no", b"no", b"not any more"])
        self.assertEqual([target.recv(9), target.recv(9)], [b"yes", b"yes"])

    def test_policyFails(self) -> None:
        """
        When it breaks down nothing is sent, and that is logged.
        """
        self.rules.forbidden = None
        self.association.send(b"x", self.target()[1])
        self.assertEqual(self.receiver.dropped, [b"x"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_errors(self) -> None:
        """
        What cannot be sent is dropped: it is too large, or for a port or an
        address that cannot be sent to.  The next one goes out.
        """
        target, address = self.target()
        for data, wrong in (
            (bytes(65_520), address),
            (b"port", Address.ip("127.0.0.1", 0)),
            (b"broadcast", Address.ip("255.255.255.255", 9)),
            (b"here", Address.ip("::", 0)),
        ):
            self.association.send(data, wrong)
            self.assertEqual(self.receiver.dropped.pop(), data)
        self.association.send(b"x", address)
        self.assertEqual(target.recv(9), b"x")

    def test_refused(self) -> None:
        """
        A target that refuses ends nothing.
        """
        target, address = self.target()
        nobody, refusing = self.target()
        nobody.close()
        for _ in range(3):
            self.association.send(b"x", refusing)
            self.read()
        self.association.send(b"y", address)
        self.assertEqual(target.recv(9), b"y")

    def test_noSocket(self) -> None:
        """
        Without a descriptor for a socket the datagram is dropped, and the next
        one tries again.
        """
        target, address = self.target()

        def fails(*arguments: object) -> socket.socket:
            raise OSError

        real = socket.socket
        self.patch(socket, "socket", fails)
        self.association.send(b"x", address)
        self.patch(socket, "socket", real)
        self.association.send(b"y", address)
        self.assertEqual(self.receiver.dropped, [b"x"])
        self.assertEqual(target.recv(9), b"y")

    def test_localEnd(self) -> None:
        """
        Datagrams come from the local end that was given; by the other family
        nothing goes out.
        """
        association = self.associate(localEnd=LocalEnd(ipv4="127.0.0.3"))
        target, address = self.target()
        association.send(b"x", address)
        _, source = target.recvfrom(9)
        self.assertEqual(source[0], "127.0.0.3")
        association.send(b"no", self.target("::1")[1])
        self.assertEqual(self.receiver.dropped, [b"no"])
        self.assertEqual(len(self.reactor.readers), 1)

    def test_manySources(self) -> None:
        """
        Sources are not remembered without end.
        """
        self.patch(module, "REMEMBERED", 2)
        target, address = self.target()
        self.association.send(b"x", address)
        _, source = target.recvfrom(9)
        senders = [self.target() for _ in range(4)]
        for sender, _ in senders:
            sender.sendto(b"x", source)
        self.read()
        self.assertEqual(
            [a for _, a in self.receiver.received], [a for _, a in senders]
        )

    def test_close(self) -> None:
        """
        Nothing is open after it, however often.
        """
        for host in ("127.0.0.1", "::1"):
            self.association.send(b"x", self.target(host)[1])
        sockets = [reader.socket for reader in self.reactor.readers]
        self.association.close()
        self.association.close()
        self.assertEqual(self.reactor.readers, [])
        self.assertEqual([one.fileno() for one in sockets], [-1, -1])
        self.association.send(b"late", self.target()[1])
        self.assertEqual(self.receiver.dropped, [b"late"])
        self.assertEqual(self.reactor.readers, [])


class NameTests(AssociatorTestCase):
    """
    To names.
    """

    def named(self, address: Address, host: str = "example.org") -> Address:
        """
        A name with the port of C{address}.
        """
        return Address.name(host, address.port)

    def test_name(self) -> None:
        """
        What was sent to a name reaches its address, in the order in which it was
        sent, and costs one look-up meanwhile.
        """
        target, address = self.target()
        for data in (b"one", b"two"):
            self.association.send(data, self.named(address))
        self.assertEqual(len(self.names.asked), 1)
        self.names.answer(0, "127.0.0.1")
        self.assertEqual([target.recv(9), target.recv(9)], [b"one", b"two"])
        self.names.known["example.org"] = ["127.0.0.1"]
        self.association.send(b"three", self.named(address))
        self.assertEqual(target.recv(9), b"three")

    def test_othersGoOn(self) -> None:
        """
        A look-up does not hold up what goes to others, names or not.
        """
        target, address = self.target()
        self.names.known["quick.example"] = ["127.0.0.1"]
        self.association.send(b"slow", self.named(address, "slow.example"))
        self.association.send(b"quick", self.named(address, "quick.example"))
        self.association.send(b"direct", address)
        self.assertEqual([target.recv(9), target.recv(9)], [b"quick", b"direct"])
        self.names.answer(0, "127.0.0.1")
        self.assertEqual(target.recv(9), b"slow")

    def test_unknown(self) -> None:
        """
        What was sent to a name that does not resolve is dropped; that is nobody's
        fault.
        """
        self.association.send(b"one", Address.name("nowhere.example", 9))
        self.association.send(b"two", Address.name("nowhere.example", 9))
        self.names.asked[0][1].errback(Failure(HostUnreachable("no")))
        self.assertEqual(self.receiver.dropped, [b"one", b"two"])

    def test_resolverFails(self) -> None:
        """
        A fault of the resolver is logged.
        """

        def fails(name: Address) -> Deferred[list[Address]]:
            raise ZeroDivisionError

        self.patch(self.names, "resolve", fails)
        for data in (b"one", b"two"):
            self.association.send(data, Address.name("example.org", 9))
        self.assertEqual(self.receiver.dropped, [b"one", b"two"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_policy(self) -> None:
        """
        The policy is asked about the address that was found, not about the name,
        and an address that it permits is taken instead of one that it forbids.
        """
        target, address = self.target("127.0.0.2")
        self.names.known["example.org"] = ["127.0.0.1", "127.0.0.2"]
        self.rules.forbidden = {"127.0.0.1"}
        self.association.send(b"x", self.named(address))
        self.assertEqual(target.recv(9), b"x")
        self.assertEqual([a.host for a in self.rules.asked], ["127.0.0.1", "127.0.0.2"])
        self.rules.forbidden = {"127.0.0.1", "127.0.0.2"}
        self.association.send(b"no", self.named(address))
        self.assertEqual(self.receiver.dropped, [b"no"])

    def test_secondAddress(self) -> None:
        """
        When the first address cannot be sent to, the next one is.
        """
        target, address = self.target()
        self.names.known["example.org"] = ["255.255.255.255", "127.0.0.1"]
        self.association.send(b"x", self.named(address))
        self.assertEqual(target.recv(9), b"x")

    def test_sameAddress(self) -> None:
        """
        A name stays with its address as long as that is among its addresses,
        though they take turns.
        """
        target, address = self.target()
        name = self.named(address)
        for hosts in (
            ("127.0.0.1", "127.0.0.2"),
            ("127.0.0.2", "127.0.0.1"),
            ("127.0.0.3", "127.0.0.1", "127.0.0.2"),
        ):
            self.names.known["example.org"] = list(hosts)
            self.association.send(b"x", name)
            self.assertEqual(target.recv(9), b"x")
        self.names.known["example.org"] = ["::1"]
        self.association.send(b"gone", name)
        self.assertEqual(self.rules.asked[-1].host, "::1")

    def test_queue(self) -> None:
        """
        So many wait for their names, and no more: then the oldest are dropped, of
        the name that has waited longest.
        """
        for number in range(QUEUED + 2):
            name = Address.name(f"{number % 3}.example", 9)
            self.association.send(bytes((number,)), name)
        self.assertEqual(self.receiver.dropped, [b"\0", b"\3"])
        self.assertEqual(len(self.names.asked), 3)
        for number in range(3):
            self.names.answer(number, "127.0.0.1")
        for _ in range(QUEUED):
            self.association.send(b"x", Address.name("another.example", 9))
        self.assertEqual(len(self.receiver.dropped), 2)

    def test_silentName(self) -> None:
        """
        A name that nobody answers for is not in the way of others, however much
        is sent to it, and whether or not those are known already; nor are many
        such names, the oldest of which are given up.
        """
        target, address = self.target()
        for _ in range(2 * QUEUED):
            self.association.send(b"x", Address.name("silent.example", 9))
        self.association.send(b"one", self.named(address, "slow.example"))
        self.names.known["quick.example"] = ["127.0.0.1"]
        self.association.send(b"two", self.named(address, "quick.example"))
        self.assertEqual(target.recv(9), b"two")
        self.names.answer(1, "127.0.0.1")
        self.assertEqual(target.recv(9), b"one")
        self.assertEqual(self.names.cancelled, 0)
        for number in range(QUEUED + 2):
            self.association.send(b"x", Address.name(f"{number}.example", 9))
        self.assertEqual(self.names.cancelled, 3)
        self.association.close()
        self.assertEqual(self.names.cancelled, QUEUED + 3)
        # All but the two, each once.
        self.assertEqual(self.receiver.dropped, [b"x"] * (3 * QUEUED + 2))
        self.assertEqual(self.association._queued, 0)
        self.assertEqual(self.association._queuedBytes, 0)

    def test_queuedBytes(self) -> None:
        """
        Nor more bytes.
        """
        fits = QUEUED_BYTES // len(LARGE)
        for _ in range(fits + 1):
            self.association.send(LARGE, Address.name("example.org", 9))
        self.assertEqual(self.receiver.dropped, [LARGE])
        self.association.send(b"small", Address.name("example.org", 9))
        self.assertEqual(len(self.receiver.dropped), 1)
        self.assertLessEqual(self.association._queuedBytes, QUEUED_BYTES)

    def test_close(self) -> None:
        """
        Look-ups are cancelled at the end, what waits for them is dropped.
        """
        for host in ("one.example", "two.example"):
            self.association.send(b"x", Address.name(host, 9))
        self.association.close()
        self.assertEqual(self.names.cancelled, 2)
        self.assertEqual(self.receiver.dropped, [b"x", b"x"])
        self.assertEqual(self.reactor.readers, [])
