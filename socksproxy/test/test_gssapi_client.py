"""
Our client, with its ticket, against our own C{twistd} and a real KDC: Debian's
Dante is built without GSSAPI.
"""

from __future__ import annotations

import os
import re
import socket
import textwrap
from functools import partial
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, inlineCallbacks
from twisted.internet.endpoints import TCP4ServerEndpoint, clientFromString
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread

from socksproxy.client.endpoints import SOCKS5ClientEndpoint
from socksproxy.client.errors import (
    LoginRefused,
    NoAcceptableMethod,
    NoTicket,
    ProxyTimedOut,
    TooLittleProtection,
)
from socksproxy.client.login import NoLogin, PasswordLogin
from socksproxy.errors import ConnectionRefused
from socksproxy.test.kerberos import Realm, needsKerberos
from socksproxy.test.processes import PATIENCE, Proxy
from socksproxy.test.source import sourceFile
from socksproxy.test.test_client import ClientTestCase, Cutter, Receiver, Uploader
from socksproxy.wire.address import Address
from socksproxy.wire.gssapi import Protection

try:
    from socksproxy.client.gssapi import GSSAPILogin
except ImportError:
    pass

reactor: Any = _reactor

NONE, INTEGRITY, CONFIDENTIALITY, SELECTIVE = Protection

SECRET = b"220 nobody else should know this\r\n"


class GSSAPIClientTestCase(ClientTestCase):
    """
    What the tests share.
    """

    def setUp(self) -> None:
        self.realm = realm = Realm()
        self.addCleanup(realm.stop)
        realm.start()
        realm.enter(self.addCleanup)

    def start(self, *options: str) -> Proxy:
        """
        Our proxy, with the realm's keys.
        """
        return self.startProxy(
            *("--port", "0", "--gssapi", "--gssapi-keytab", self.realm.keytab), *options
        )

    def endpoint(
        self, proxy: Any, port: int, host: str = "127.0.0.1", **kwargs: Any
    ) -> SOCKS5ClientEndpoint:
        """
        @param proxy: runs, or is an endpoint.
        @param port: the target's.
        @param kwargs: what L{GSSAPILogin} takes.
        """
        login = GSSAPILogin(reactor, "localhost", **kwargs)
        way = self.proxy(proxy.port) if isinstance(proxy, Proxy) else proxy
        return SOCKS5ClientEndpoint(reactor, way, host, port, [login])

    def factory(self, protocol: Uploader) -> Factory:
        """
        Has C{protocol} and no other.
        """
        return Factory.forProtocol(lambda: protocol)

    def said(self, proxy: Proxy, words: str) -> None:
        """
        Wait for a line of its log that has C{words}.
        """
        self.until(lambda: words in proxy.log, f"no line with {words}: {proxy.log}")


@needsKerberos
class CommandTests(GSSAPIClientTestCase):
    """
    All that a proxy does, at all levels.
    """

    @inlineCallbacks
    def test_connect(self) -> Any:
        """
        Bytes go both ways, and so do the ends of both sides.
        """
        proxy, port = self.start(), self.target(SECRET)
        for level in Protection:
            yield self.assertServes(
                self.endpoint(proxy, port, protection=level),
                self.endpoint(proxy, port, "localhost", protection=level),
                greeting=SECRET,
            )
        self.said(proxy, f"alice@EXAMPLE.TEST CONNECT localhost:{port}")
        self.assertQuiet(proxy)

    @inlineCallbacks
    def test_heard(self) -> Any:
        """
        Whoever listens hears what was said with integrity alone, and not what was
        encrypted; how the bytes are cut on their way does not matter.
        """
        proxy, port = self.start(), self.target(SECRET)
        for level, size in ((1, 7), (2, 1), (2, 4099), (3, 1000)):
            heard = bytearray()
            make = partial(Cutter, size, self.proxy(proxy.port), heard)
            between = yield TCP4ServerEndpoint(
                reactor, 0, interface="127.0.0.1"
            ).listen(Factory.forProtocol(make))
            self.addCleanup(between.stopListening)
            endpoint = self.endpoint(
                self.proxy(between.getHost().port), port, protection=Protection(level)
            )
            answer = yield self.upload(endpoint, SECRET * 100)
            self.assertTrue(answer.startswith(SECRET))
            for words in (SECRET, b"\x7f\0\0\x01" + port.to_bytes(2, "big")):
                self.assertEqual(words in heard, level == 1)
        self.assertQuiet(proxy)

    @inlineCallbacks
    def test_refusal(self) -> Any:
        """
        What the proxy says of the target is protected, and understood.
        """
        proxy, port = self.start(), self.freePort()
        for level in Protection:
            endpoint = self.endpoint(proxy, port, protection=level)
            yield self.assertFailure(self.upload(endpoint), ConnectionRefused)

    @inlineCallbacks
    def test_bind(self) -> Any:
        """
        It listens for us.
        """
        proxy = self.start()
        for level in Protection:
            protocol = Uploader(SECRET)
            endpoint = self.endpoint(proxy, 0, protection=level)
            binding = yield endpoint.bind(self.factory(protocol))
            where = (binding.address.host, binding.address.port)
            peer = socket.create_connection(where)
            self.addCleanup(peer.close)
            peer.sendall(b"220 hello\r\n")
            peer.shutdown(socket.SHUT_WR)
            yield binding.accepted
            self.assertEqual(binding.peer, Address.ip(*peer.getsockname()))
            said = yield protocol.said
            self.assertEqual(said, b"220 hello\r\n")
            peer.settimeout(PATIENCE)
            self.assertEqual(peer.recv(1 << 16), SECRET)
        self.assertQuiet(proxy)

    @inlineCallbacks
    def test_associate(self) -> Any:
        """
        Datagrams of all sizes go both ways; what is too long with its protection
        is dropped.
        """
        proxy = self.start()
        echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(echo.close)
        echo.bind(("127.0.0.1", 0))
        echo.settimeout(PATIENCE)
        target = Address.ip(*echo.getsockname())
        for level in Protection:
            receiver = Receiver()
            endpoint = self.endpoint(proxy, 0, "0.0.0.0", protection=level)
            association = yield endpoint.associate(receiver)
            for data in (b"one", b"", os.urandom(1400), bytes(60_000), b"last"):
                association.send(data, target)
                came, source = echo.recvfrom(1 << 16)
                self.assertEqual(came, data)
                echo.sendto(data, source)
                received = yield receiver.next()
                self.assertEqual(received, (data, target))
            self.assertEqual(receiver.dropped, [])
            if level is not NONE:
                association.send(bytes(65_490), target)
                self.assertEqual(receiver.dropped, [bytes(65_490)])
            association.close()
            self.said(proxy, "UDP_ASSOCIATE")
        self.assertQuiet(proxy)

    @inlineCallbacks
    def test_nested(self) -> Any:
        """
        A proxy behind a proxy, each of which wants a ticket; and one that wants
        none in between.
        """
        first, plain, second = self.start(), self.startProxy(), self.start()
        port = self.target(SECRET)
        protected = self.endpoint(first, second.port)
        behind = SOCKS5ClientEndpoint(
            reactor, self.endpoint(first, plain.port), "127.0.0.1", second.port
        )
        yield self.assertServes(
            self.endpoint(protected, port),
            self.endpoint(behind, port, protection=INTEGRITY),
            self.endpoint(self.endpoint(first, second.port, protection=NONE), port),
            greeting=SECRET,
        )
        for proxy in (first, plain, second):
            self.assertQuiet(proxy)


@needsKerberos
class LoginTests(GSSAPIClientTestCase):
    """
    Who is let in, and who is not.
    """

    @inlineCallbacks
    def test_nec(self) -> Any:
        """
        A level in clear is welcome at a proxy that permits it.
        """
        port = self.target()
        proxy = self.start("--gssapi-nec")
        for level in Protection:
            yield self.assertServes(
                self.endpoint(proxy, port, protection=level, nec=True)
            )
        yield self.assertServes(self.endpoint(proxy, port))
        strict = self.start()
        refused = self.upload(self.endpoint(strict, port, nec=True))
        wrong = yield self.assertFailure(refused, LoginRefused)
        self.assertIn("level of protection", str(wrong))

    @inlineCallbacks
    def test_levels(self) -> Any:
        """
        Neither side gets less than it demands.
        """
        port = self.target()
        proxy = self.start("--gssapi-protection", "confidentiality")
        for level in (NONE, INTEGRITY):
            refused = self.upload(self.endpoint(proxy, port, protection=level))
            yield self.assertFailure(refused, LoginRefused)
        yield self.assertServes(
            self.endpoint(proxy, port),
            self.endpoint(proxy, port, protection=SELECTIVE),
        )
        off = self.start("--gssapi-protection", "off")
        for level in (INTEGRITY, CONFIDENTIALITY):
            refused = self.upload(self.endpoint(off, port, protection=level))
            yield self.assertFailure(refused, TooLittleProtection)
        yield self.assertServes(self.endpoint(off, port, least=NONE))

    @inlineCallbacks
    def test_tickets(self) -> Any:
        """
        Without a ticket, with one for another service, and with one for a service
        that nobody knows there is no way in.
        """
        port = self.target()
        proxy = self.start("--gssapi-service", "rcmd@127.0.0.1")
        nowhere = "FILE:" + self.realm.path("nowhere")
        for kwargs, kind in (
            ({"tickets": nowhere}, NoTicket),
            ({"service": "socks"}, NoTicket),
            ({"service": "rcmd"}, LoginRefused),
        ):
            arguments: Any = kwargs
            refused = self.upload(self.endpoint(proxy, port, **arguments))
            yield self.assertFailure(refused, kind)
        yield self.assertServes(
            self.endpoint(proxy, port, service="rcmd/127.0.0.1@EXAMPLE.TEST")
        )
        self.assertQuiet(proxy)

    @inlineCallbacks
    def test_besideOthers(self) -> Any:
        """
        The proxy chooses of what is offered.
        """
        port, login = self.target(), GSSAPILogin(reactor, "localhost")
        methods = [NoLogin(), login, PasswordLogin("ann", "s3cret")]
        passwords = self.startProxy("--port", "0", "--auth", "memory:ann:s3cret")
        for proxy in (self.start(), self.startProxy(), passwords):
            way = self.proxy(proxy.port)
            yield self.assertServes(
                SOCKS5ClientEndpoint(reactor, way, "127.0.0.1", port, methods)
            )
        refused = self.upload(self.endpoint(passwords, port))
        yield self.assertFailure(refused, NoAcceptableMethod)

    @inlineCallbacks
    def test_description(self) -> Any:
        """
        An endpoint from its description.
        """
        proxy, port = self.start(), self.target()
        endpoint = clientFromString(
            reactor,
            f"socks5:localhost:port={proxy.port}:host=127.0.0.1:hostPort={port}:"
            "gssapi=rcmd",
        )
        yield self.assertServes(endpoint)

    @inlineCallbacks
    def test_documented(self) -> Any:
        """
        The program of F{docs/client.rst}.
        """
        proxy, port = self.start(), self.target(SECRET)
        text = sourceFile("docs/client.rst").read_text()
        text = text.partition("\nWith a Kerberos ticket\n")[2]
        found = re.search(r"python\n\n((?: {3}.*\n|\n)+)", text)
        assert found is not None
        program = textwrap.dedent(found[1])
        for word, real in (
            ("proxy.example", "localhost"),
            ("1080", str(proxy.port)),
            ("example.com", "127.0.0.1"),
            ("443", str(port)),
        ):
            self.assertIn(word, program)
            program = program.replace(word, real)
        uploader = Uploader(b"")
        names: Any = {"reactor": reactor, "factory": self.factory(uploader)}
        exec(program, names)
        yield names["connecting"]
        said = yield uploader.said
        self.assertTrue(said.startswith(SECRET))

    @inlineCallbacks
    def test_silentKDC(self) -> Any:
        """
        A KDC that says nothing holds up nobody else, and the deadline holds.
        """
        silent, port = self.listener(), self.target()
        way, plain = (self.proxy(p.port) for p in (self.start(), self.startProxy()))
        self.realm.silence(silent)
        login = [GSSAPILogin(reactor, "localhost")]
        asking = self.upload(
            SOCKS5ClientEndpoint(reactor, way, "127.0.0.1", port, login, PATIENCE)
        )
        asked, _ = yield deferToThread(silent.accept)
        yield self.upload(SOCKS5ClientEndpoint(reactor, plain, "127.0.0.1", port), b"")
        # It is still waited for, which would have an end after 25 seconds.
        self.assertNoResult(asking)
        asking.cancel()
        yield self.assertFailure(asking, CancelledError)
        hasty = SOCKS5ClientEndpoint(reactor, way, "127.0.0.1", port, login, 0.1)
        yield self.assertFailure(self.upload(hasty), ProxyTimedOut)
        # The threads come back.
        silent.close()
        asked.close()


# They are there to be subclassed.
del ClientTestCase
