"""
Tests for L{socksproxy.outbound.dns}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.names import dns as names
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.errors import HostUnreachable, TimedOut
from socksproxy.outbound import dns
from socksproxy.outbound.dns import DNSSource, ReverseDNSSource
from socksproxy.outbound.resolver import Answer, IAddressSource
from socksproxy.test.nameserver import answerTo, record
from socksproxy.wire.address import Address

SERVERS = [Address.ip("192.0.2.53", 53), Address.ip("2001:db8::53", 5353)]
NAME = b"example.org"
SOA = names.Record_SOA(b"ns", b"hostmaster", minimum=7)


def A(host: str, name: bytes = NAME, ttl: int = 60) -> names.RRHeader:
    return record(name, names.Record_A(host), ttl)


def AAAA(host: str, name: bytes = NAME, ttl: int = 60) -> names.RRHeader:
    return record(name, names.Record_AAAA(host), ttl)


def CNAME(name: bytes, target: bytes, ttl: int = 60) -> names.RRHeader:
    return record(name, names.Record_CNAME(target), ttl)


def answer(*hosts: str, lifetime: float | None = 60) -> Answer:
    return Answer(tuple(Address.ip(host, 0) for host in hosts), lifetime)


class ScriptedExchange:
    """
    One with a server that the test plays.

    @ivar queries: what is asked, by type.
    """

    atOnce: Exception | None = None
    isClosed = False

    def __init__(
        self,
        reactor: object,
        server: Address,
        answered: Callable[[names.Query, names.Message], None],
        over: Callable[[Exception | None], None],
    ) -> None:
        self.server = server
        self.end = over
        self._answered = answered
        self.queries: dict[int, names.Query] = {}

    def start(self, queries: Sequence[names.Query], seconds: float) -> Exception | None:
        self.seconds = seconds
        self.queries = {query.type: query for query in queries}
        return self.atOnce

    def answer(self, kind: int, *records: names.RRHeader, **fields: Any) -> None:
        """
        Answer a question, and end it with the last.
        """
        query = self.queries.pop(kind)
        message = names.Message()
        message.queries = [query]
        self._answered(query, answerTo(message, *records, **fields))
        if not self.queries:
            self.end(None)

    def close(self) -> None:
        self.isClosed = True


class DNSTestCase(SynchronousTestCase):
    """
    What the tests share.
    """

    def setUp(self) -> None:
        self.exchanges: list[ScriptedExchange] = []
        self.atOnce: list[Exception] = []

        def exchange(*args: Any) -> ScriptedExchange:
            made = ScriptedExchange(*args)
            if self.atOnce:
                made.atOnce = self.atOnce.pop(0)
            self.exchanges.append(made)
            return made

        self.patch(dns, "Exchange", exchange)
        self.hosts, self.resolvConf = Path(self.mktemp()), Path(self.mktemp())
        self.source = self.sourceWith(SERVERS)

    def sourceWith(self, servers: Sequence[Address]) -> DNSSource:
        return DNSSource(None, servers, str(self.hosts), str(self.resolvConf))

    def lookUp(self, host: str = "example.org") -> Deferred[Answer]:
        asking: Deferred[Answer] = self.source.lookUp(host)
        return asking

    @property
    def exchange(self) -> ScriptedExchange:
        """
        The one that is under way.
        """
        return self.exchanges[-1]


class KnownTests(DNSTestCase):
    """
    Names for which no server is asked.
    """

    def assertKnown(self, host: str, *hosts: str) -> None:
        self.assertEqual(
            self.successResultOf(self.lookUp(host)), answer(*hosts, lifetime=None), host
        )
        self.assertEqual(self.exchanges, [])

    def test_interface(self) -> None:
        """
        It is an L{IAddressSource}.
        """
        verifyObject(IAddressSource, self.source)

    def test_hosts(self) -> None:
        """
        The hosts file comes first, as it is at the moment.
        """
        self.hosts.write_text("192.0.2.1 example.org\n2001:db8::1 Example.org other\n")
        self.assertKnown("example.org", "192.0.2.1", "2001:db8::1")
        self.assertKnown("Example.ORG.", "192.0.2.1", "2001:db8::1")
        self.assertKnown("other", "2001:db8::1")
        self.hosts.write_text("192.0.2.2 example.org\n")
        self.assertKnown("example.org", "192.0.2.2")

    def test_localhost(self) -> None:
        """
        C{localhost} is this machine, whatever a server would say of it, but
        for the hosts file.
        """
        for host in ("localhost", "LocalHost.", "a.localhost"):
            self.assertKnown(host, "::1", "127.0.0.1")
        self.hosts.write_text("127.0.0.1 localhost")
        self.assertKnown("localhost", "127.0.0.1")

    def test_literals(self) -> None:
        """
        What the system takes for an IPv4 address is that address.
        """
        for host in ("127.1", "0x7f.1", "2130706433", "0177.0.0.1", "127.0.0.1."):
            self.assertKnown(host, "127.0.0.1")

    def test_noLiterals(self) -> None:
        """
        What is like one but is none is a name.
        """
        for host in ("1.2.3.4.5", "256.1.1.1", "1 2", "127.0.0.1 x", "0x", "face"):
            self.lookUp(host)
            self.assertEqual(
                self.exchange.queries[names.A].name.name, host.encode(), host
            )

    def test_noNames(self) -> None:
        """
        What DNS has no way to say has no address.
        """
        for host in (
            *("", ".", "..", "a..b", ".a", "a" * 64, "a." * 127 + "a"),
            *("\udcff.example", "\u00fc" * 60, "\u2024", "a\u3002\u3002b"),
        ):
            found = self.successResultOf(self.lookUp(host))
            self.assertEqual(found.addresses, (), host)
            self.assertEqual(found.reason, "there cannot be such a name in DNS")
        self.assertEqual(self.exchanges, [])


class AskingTests(DNSTestCase):
    """
    What servers are asked, and in which order.
    """

    def assertAsked(self, server: Address, seconds: float, *kinds: int) -> None:
        self.assertEqual(self.exchange.server, server)
        self.assertEqual(self.exchange.seconds, seconds)
        self.assertEqual(tuple(self.exchange.queries), kinds or dns.TYPES)

    def test_names(self) -> None:
        """
        A name is asked for as it is, in the letters of IDNA.
        """
        for host, name in (
            ("example.org", b"example.org"),
            ("EXAMPLE.org.", b"example.org"),
            ("_sip._tcp.example.org", b"_sip._tcp.example.org"),
            ("b\u00fccher.example", b"xn--bcher-kva.example"),
            ("a\u3002b", b"a.b"),
            ("host", b"host"),
            ("a." * 126 + "a", b"a." * 126 + b"a"),
        ):
            self.lookUp(host)
            for kind in (names.A, names.AAAA):
                query = self.exchange.queries[kind]
                self.assertEqual((query.name.name, query.cls), (name, names.IN))

    def test_order(self) -> None:
        """
        The servers have three turns each, with more time every time; when
        nobody has said anything that is a timeout.
        """
        asking = self.lookUp()
        for seconds in dns.TRIES:
            for server in SERVERS:
                self.assertNoResult(asking)
                self.assertAsked(server, seconds)
                self.exchange.end(None)
        self.failureResultOf(asking, TimedOut)
        self.assertEqual(len(self.exchanges), 6)

    def test_resolvConf(self) -> None:
        """
        Without servers of its own it asks those of C{resolv.conf}, as it is at
        the moment.
        """
        self.source = self.sourceWith([])
        self.lookUp()
        self.assertAsked(Address.ip("127.0.0.1", 53), 1)
        self.resolvConf.write_text("nameserver 192.0.2.7\n")
        self.lookUp()
        self.assertAsked(Address.ip("192.0.2.7", 53), 1)

    def test_failing(self) -> None:
        """
        A server that fails is no reason not to ask the next one; what one of
        them has said is more telling than the others' silence.
        """
        for code, said in ((2, "SERVFAIL"), (5, "REFUSED"), (4, "NOTIMP"), (9, "9")):
            asking = self.lookUp()
            self.exchange.answer(names.A, rCode=code)
            self.assertAsked(SERVERS[0], 1, names.AAAA)
            self.exchange.answer(names.AAAA, rCode=code)
            for _ in range(5):
                self.assertEqual(tuple(self.exchange.queries), dns.TYPES)
                self.exchange.end(None)
            failure = self.failureResultOf(asking, HostUnreachable)
            self.assertIn(said, str(failure.value))

    def test_nextAnswers(self) -> None:
        """
        What the first server has said is not asked again.
        """
        asking = self.lookUp()
        self.exchange.answer(names.AAAA)
        self.exchange.answer(names.A, rCode=names.ESERVER)
        self.assertAsked(SERVERS[1], 1, names.A)
        self.exchange.answer(names.A, A("192.0.2.1"))
        self.assertEqual(self.successResultOf(asking), answer("192.0.2.1"))

    def test_unreachable(self) -> None:
        """
        One that cannot be reached is passed over; when none can be, the last
        one's failure is it.
        """
        self.atOnce = [HostUnreachable("no way")]
        asking = self.lookUp()
        self.assertAsked(SERVERS[1], 1)
        self.exchange.end(HostUnreachable("refused"))
        self.assertAsked(SERVERS[0], 3)
        wrong = HostUnreachable("last")
        self.atOnce = [HostUnreachable("first"), HostUnreachable("first"), wrong]
        self.exchange.end(None)
        self.assertIs(self.failureResultOf(asking).value, wrong)
        self.assertEqual(len(self.exchanges), 6)

    def test_cancelled(self) -> None:
        """
        A look-up can be cancelled.
        """
        asking = self.lookUp()
        self.exchange.end(None)
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        self.assertEqual(
            [exchange.isClosed for exchange in self.exchanges], [False, True]
        )


class AnswerTests(DNSTestCase):
    """
    What is made of the answers.
    """

    def answered(
        self,
        a: Sequence[names.RRHeader] = (),
        aaaa: Sequence[names.RRHeader] = (),
        **fields: Any,
    ) -> Answer:
        asking = self.lookUp()
        self.exchange.answer(names.A, *a, **fields)
        self.assertNoResult(asking)
        self.exchange.answer(names.AAAA, *aaaa, **fields)
        return self.successResultOf(asking)

    def test_both(self) -> None:
        """
        IPv6 comes first; within a family it is the server's order, each
        address once.
        """
        found = self.answered(
            [A("192.0.2.2"), A("192.0.2.1"), A("192.0.2.2")],
            [AAAA("2001:db8::2"), AAAA("2001:db8::1")],
        )
        self.assertEqual(
            found, answer("2001:db8::2", "2001:db8::1", "192.0.2.2", "192.0.2.1")
        )

    def test_oneFamily(self) -> None:
        """
        One of the two is enough.
        """
        self.assertEqual(self.answered([A("192.0.2.1")]), answer("192.0.2.1"))
        self.assertEqual(
            self.answered(aaaa=[AAAA("2001:db8::1")]), answer("2001:db8::1")
        )

    def test_oneFails(self) -> None:
        """
        When the other question has no answer, of whatever kind, what there is
        is taken, and no other server is bothered.
        """
        for fail in (
            lambda: self.exchange.answer(names.AAAA, rCode=names.ESERVER),
            lambda: self.exchange.answer(names.AAAA, rCode=names.ENAME),
            lambda: self.exchange.end(None),
            lambda: self.exchange.end(HostUnreachable("hung up")),
        ):
            asking = self.lookUp()
            count = len(self.exchanges)
            self.exchange.answer(names.A, A("192.0.2.1"))
            self.assertNoResult(asking)
            fail()
            self.assertEqual(self.successResultOf(asking), answer("192.0.2.1"))
            self.assertEqual(len(self.exchanges), count)

    def test_lifetime(self) -> None:
        """
        The shortest time to live of all that was used is the answer's.
        """
        found = self.answered([A("192.0.2.1", ttl=9)], [AAAA("2001:db8::1", ttl=5)])
        self.assertEqual(found.lifetime, 5)
        found = self.answered([A("192.0.2.1", ttl=9), A("192.0.2.2", ttl=0)])
        self.assertEqual(found.lifetime, 0)
        alias = CNAME(NAME, b"b", ttl=3)
        self.assertEqual(self.answered([alias, A("192.0.2.1", b"b")]).lifetime, 3)

    def test_aliases(self) -> None:
        """
        A chain of aliases is followed, in whatever order it comes and however
        it is written, up to the addresses of its end.
        """
        found = self.answered(
            [
                A("192.0.2.1", b"C.example"),
                CNAME(b"b.example", b"c.Example"),
                CNAME(b"Example.ORG", b"B.example"),
                A("192.0.2.2", b"b.example"),
            ]
        )
        self.assertEqual(found, answer("192.0.2.1"))

    def test_loop(self) -> None:
        """
        A chain that has no end has no address.
        """
        loop = [CNAME(NAME, b"b"), CNAME(b"b", NAME)]
        self.assertEqual(self.answered(loop, loop).addresses, ())

    def test_foreign(self) -> None:
        """
        Records of other names, types and classes are nothing.
        """
        chaos = A("192.0.2.3")
        chaos.cls = names.CH
        records = [A("192.0.2.1", b"other"), AAAA("2001:db8::1"), chaos]
        self.assertEqual(self.answered(records).addresses, ())

    def test_mapped(self) -> None:
        """
        An IPv4-mapped address is the IPv4 address, as everywhere.
        """
        found = self.answered(aaaa=[AAAA("::ffff:192.0.2.1")])
        self.assertEqual(found, answer("192.0.2.1"))

    def test_noName(self) -> None:
        """
        That there is no such name is an answer with a reason; it holds for as
        long as the zone says.
        """
        found = self.answered(rCode=names.ENAME)
        self.assertEqual(found, Answer((), None, "there is no such name"))
        for ttl, lifetime in ((3600, 7), (5, 5)):
            authority = [record(b"org", SOA, ttl)]
            found = self.answered(rCode=names.ENAME, authority=authority)
            self.assertEqual(found.lifetime, lifetime)

    def test_noAddress(self) -> None:
        """
        So is that it has no address.
        """
        authority = [record(b"org", names.Record_NS(b"ns")), record(b"org", SOA)]
        found = self.answered(authority=authority)
        self.assertEqual(found, Answer((), 7, "the name has no address"))


class ReverseTests(DNSTestCase):
    """
    From addresses to names.
    """

    def sourceWith(self, servers: Sequence[Address]) -> DNSSource:
        return ReverseDNSSource(None, servers, str(self.hosts), str(self.resolvConf))

    def found(self, *records: names.RRHeader) -> Answer:
        """
        What is made of an answer.
        """
        looking = self.lookUp("192.0.2.1")
        self.exchange.answer(names.PTR, *records)
        return self.successResultOf(looking)

    def test_asked(self) -> None:
        """
        What is asked for is the pointer's name.
        """
        for host, pointer in (
            ("192.0.2.1", b"1.2.0.192.in-addr.arpa"),
            ("2001:db8::1", b"1" + b".0" * 23 + b".8.b.d.0.1.0.0.2.ip6.arpa"),
        ):
            self.lookUp(host)
            self.assertEqual(list(self.exchange.queries), [names.PTR])
            self.assertEqual(self.exchange.queries[names.PTR].name.name, pointer)

    def test_name(self) -> None:
        """
        The name, for as long as it holds; aliases are followed.
        """
        pointer = b"1.2.0.192.in-addr.arpa"
        named = Answer((Address.name("example.org", 0),), 7)
        PTR = names.Record_PTR(NAME)
        self.assertEqual(self.found(record(pointer, PTR, 7)), named)
        alias = CNAME(pointer, b"1.x.example")
        self.assertEqual(self.found(alias, record(b"1.x.example", PTR, 7)), named)

    def test_none(self) -> None:
        """
        There may be none, or one that cannot be.
        """
        self.assertEqual(self.found().addresses, ())
        bad = record(b"1.2.0.192.in-addr.arpa", names.Record_PTR(b""), 7)
        self.assertEqual(self.found(bad).addresses, ())

    def test_hosts(self) -> None:
        """
        The hosts file comes first.
        """
        self.hosts.write_text("192.0.2.1 example.org other\n2001:db8::1 six\n")
        for host, name in (("192.0.2.1", "example.org"), ("2001:db8::1", "six")):
            found = self.successResultOf(self.lookUp(host))
            self.assertEqual(found, Answer((Address.name(name, 0),)))
        self.assertEqual(self.exchanges, [])
