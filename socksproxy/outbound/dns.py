"""
Name servers, asked without a thread, in the messages of L{twisted.names}.

Its C{client.Resolver} is not what asks here: its look-ups cannot be
cancelled, write two log lines and take two ports each, ask no other server
after one that failed, and share a TCP connection that may be gone.

The hosts file comes first.  A name is asked for as it is, without the search
domains of C{resolv.conf}.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from itertools import chain
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.names import dns
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.errors import HostUnreachable, RemoteProtocolError, TimedOut
from socksproxy.outbound.exchange import Exchange
from socksproxy.outbound.files import WatchedFile, parseHosts, parseResolvConf
from socksproxy.outbound.resolver import Answer, IAddressSource
from socksproxy.wire.address import Address

__all__ = ["DNSSource", "ReverseDNSSource"]

TRIES = (1.0, 3.0, 6.0)
"""
Seconds that a server has to answer, when all of them are asked in turn for the
first time, the second time, and the last.
"""

MAX_NAME = 253
"""
Bytes in a name as text (RFC 1035 section 2.3.4).
"""

TYPES = (dns.AAAA, dns.A)
"""
What is asked for, the better first (RFC 6724 section 2.1).
"""

RCODES = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}

LOOPBACK = (Address.ip("::1", 0), Address.ip("127.0.0.1", 0))


@implementer(IAddressSource)
class DNSSource:
    """
    The hosts file, then name servers.

    A look-up has one descriptor open, and no more: the one that its session
    has not needed yet.
    """

    def __init__(
        self,
        reactor: Any,
        servers: Sequence[Address] = (),
        hostsFile: str = "/etc/hosts",
        resolvConf: str = "/etc/resolv.conf",
    ) -> None:
        """
        @param reactor: provides L{IReactorFDSet
            <twisted.internet.interfaces.IReactorFDSet>}, L{IReactorTCP
            <twisted.internet.interfaces.IReactorTCP>} and L{IReactorTime
            <twisted.internet.interfaces.IReactorTime>}.
        @param servers: IPv4 and IPv6 addresses; those of C{resolvConf} unless
            given.
        """
        self._reactor = reactor
        self._servers = tuple(servers)
        self._hosts = WatchedFile(hostsFile, parseHosts)
        self._resolvConf = WatchedFile(resolvConf, parseResolvConf)

    def lookUp(self, host: str) -> Deferred[Answer]:
        try:
            name = host.encode("idna").lower().removesuffix(b".")
        except UnicodeError:
            name = b""
        if not 0 < len(name) <= MAX_NAME:
            return succeed(Answer((), reason="there cannot be such a name in DNS"))
        known = _literal(name) or self._hosts.content().get(name)
        if known:
            return succeed(Answer(tuple(known)))
        if name == b"localhost" or name.endswith(b".localhost"):
            return succeed(Answer(LOOPBACK))  # RFC 6761 section 6.3
        return self._ask(name, TYPES)

    def _ask(self, name: bytes, types: Sequence[int]) -> Deferred[Answer]:
        servers = self._servers or self._resolvConf.content()
        lookUp = _LookUp(self._reactor, name, types, servers)
        lookUp.askNext()
        return lookUp.result


class ReverseDNSSource(DNSSource):
    """
    The other way round: hosts are the texts of IP addresses, and what is found is a
    name.
    """

    def lookUp(self, host: str) -> Deferred[Answer]:
        for name, addresses in self._hosts.content().items():
            if any(address.host == host for address in addresses):
                return succeed(Answer(tuple(_named(name))))
        pointer = ipaddress.ip_address(host).reverse_pointer.encode("ascii")
        return self._ask(pointer, (dns.PTR,))


def _literal(name: bytes) -> Sequence[Address]:
    """
    What the system takes for the text of an IPv4 address, like C{127.1}.
    """
    if not name[-1:].isalnum() or not name[:1].isdigit() or len(name.split()) > 1:
        return ()
    try:
        packed = socket.inet_aton(name.decode("ascii"))
    except OSError:
        return ()
    return (Address.ip(socket.inet_ntop(socket.AF_INET, packed), 0),)


class _LookUp:
    """
    All questions about one name, put to one server after the other until
    there is an answer.
    """

    def __init__(
        self,
        reactor: Any,
        name: bytes,
        types: Sequence[int],
        servers: Sequence[Address],
    ) -> None:
        self._reactor = reactor
        self._types = types
        self._unanswered = {kind: dns.Query(name, kind) for kind in types}
        self._tries = iter([(s, seconds) for seconds in TRIES for s in servers])
        self._answers: dict[int, Answer] = {}
        self._failure: Exception = TimedOut("no name server has answered")
        self._exchange: Exchange | None = None
        self.result: Deferred[Answer] = Deferred(self._cancelled)

    def askNext(self) -> None:
        """
        Put what has no answer yet to the next server.
        """
        for server, seconds in self._tries:
            self._exchange = exchange = Exchange(
                self._reactor, server, self._answered, self._over
            )
            failure = exchange.start(list(self._unanswered.values()), seconds)
            if failure is None:
                return
            self._failure = failure
        self.result.errback(Failure(self._failure))

    def _answered(self, query: dns.Query, message: dns.Message) -> None:
        if message.rCode in (dns.OK, dns.ENAME):
            del self._unanswered[query.type]
            self._answers[query.type] = _answerIn(message, query)
        else:
            code = RCODES.get(message.rCode, message.rCode)
            self._failure = HostUnreachable(f"a name server answers {code}")

    def _over(self, failure: Exception | None) -> None:
        """
        @param failure: what the server failed with; L{None}: it has said
            something, or nothing at all.
        """
        if failure is not None:
            self._failure = failure
        found = [
            a for kind in self._types if (a := self._answers.get(kind)) and a.addresses
        ]
        if self._unanswered and not found:
            self.askNext()
        else:
            self.result.callback(_merged(found or list(self._answers.values())))

    def _cancelled(self, result: Deferred[Answer]) -> None:
        if self._exchange is not None:
            self._exchange.close()


def _merged(answers: Sequence[Answer]) -> Answer:
    """
    The answers to all questions as one; it holds for as long as each does.
    """
    return Answer(
        tuple(chain.from_iterable(answer.addresses for answer in answers)),
        min((a.lifetime for a in answers if a.lifetime is not None), default=None),
        answers[0].reason,
    )


def _answerIn(message: dns.Message, query: dns.Query) -> Answer:
    """
    What C{message} says about the name in question, aliases followed as far as
    it has them: a recursive server's answer has all of them.
    """
    if message.rCode == dns.ENAME:
        return Answer((), _negativeLifetime(message), "there is no such name")
    records: dict[tuple[int, bytes], list[Any]] = {}
    for record in message.answers:
        if record.cls == dns.IN:
            of = (record.type, record.name.name.lower())
            records.setdefault(of, []).append(record)
    name = query.name.name.lower()
    used: list[Any] = []
    while alias := records.pop((dns.CNAME, name), None):
        used.append(alias[0])
        name = alias[0].payload.name.name.lower()
    found = records.get((query.type, name), [])
    if not found:
        return Answer((), _negativeLifetime(message))
    lifetime = min(record.ttl for record in chain(used, found))
    if query.type == dns.PTR:
        return Answer(tuple(_named(found[0].payload.name.name)), lifetime)
    family = socket.AF_INET if query.type == dns.A else socket.AF_INET6
    texts = [socket.inet_ntop(family, record.payload.address) for record in found]
    return Answer(tuple(dict.fromkeys(Address.ip(text, 0) for text in texts)), lifetime)


def _named(name: bytes) -> Sequence[Address]:
    """
    The name, unless it cannot be one.
    """
    try:
        return (Address.name(name, 0),)
    except RemoteProtocolError:
        return ()


def _negativeLifetime(message: dns.Message) -> float | None:
    """
    For how long there is nothing (RFC 2308 section 5).
    """
    for record in message.authority:
        if isinstance(record.payload, dns.Record_SOA):
            return float(min(record.ttl, record.payload.minimum))
    return None
