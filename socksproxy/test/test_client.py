"""
Our client on real sockets, against Dante, microsocks, tinyproxy and our own server.
"""

from __future__ import annotations

import hashlib
import socket
from functools import partial
from pathlib import Path
from typing import Any
from unittest import skipIf

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    clientFromString,
    quoteStringArgument,
    serverFromString,
    wrapClientTLS,
)
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from socksproxy.client.endpoints import (
    HTTPConnectClientEndpoint,
    SOCKS4ClientEndpoint,
    SOCKS5ClientEndpoint,
)
from socksproxy.client.errors import (
    LoginRefused,
    NoAcceptableMethod,
    ProxyFailed,
    ProxyProtocolError,
    ProxyUnreachable,
)
from socksproxy.client.login import NoLogin, PasswordLogin
from socksproxy.errors import ConnectionRefused, GeneralFailure, HostUnreachable
from socksproxy.interfaces import IDatagramReceiver
from socksproxy.test.processes import PATIENCE, needs
from socksproxy.test.rivals import RivalTestCase
from socksproxy.wire.address import Address

try:
    from twisted.internet.ssl import (
        Certificate,
        optionsForClientTLS,
        trustRootFromCertificates,
    )
except ImportError:
    noTLS = True
else:
    noTLS = False

reactor: Any = _reactor

MEGABYTES = bytes(range(256)) * 4096 * 4

LOGIN = PasswordLogin("ann", "s3cret")


@implementer(IHalfCloseableProtocol)
class Uploader(Protocol):
    """
    Sends what it was given and then the end; waits for what the other side says to
    that.
    """

    transport: Any

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._received = b""
        self.said: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.said.addTimeout(PATIENCE, reactor)
        self.transport.write(self._data)
        self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        self._received += data

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.said.called:
            if reason.check(ProxyFailed) or not self._received:
                self.said.errback(reason)
            else:
                self.said.callback(self._received)


@implementer(IHalfCloseableProtocol)
class Cutter(Protocol):
    """
    Passes on what it gets, a few bytes at a time.
    """

    transport: Any
    other: Any = None

    def __init__(
        self,
        size: int,
        proxy: TCP4ClientEndpoint | None = None,
        heard: bytearray | None = None,
    ) -> None:
        """
        @param proxy: leads to the other side; L{None}: this is the other side.
        @param heard: gets all that is passed on, either way.
        """
        self._size = size
        self._proxy = proxy
        self._heard = bytearray() if heard is None else heard

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        if self._proxy is not None:
            self.transport.pauseProducing()
            other = Factory.forProtocol(lambda: Cutter(self._size, heard=self._heard))
            self._proxy.connect(other).addCallback(self._connected)

    def _connected(self, other: Any) -> None:
        self.other = other
        other.other = self
        self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        self._heard += data
        for start in range(0, len(data), self._size):
            self.other.transport.write(data[start : start + self._size])
            # It goes to the socket at once, as a segment of its own.
            self.other.transport.doWrite()

    def readConnectionLost(self) -> None:
        self.other.transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.other is not None:
            self.other.transport.loseConnection()


class ClientTestCase(TestCase, RivalTestCase):
    """
    Endpoints of this process's reactor.
    """

    timeout = 2 * PATIENCE

    def target(self, greeting: bytes = b"") -> int:
        """
        As L{sayDigests}.

        @return: its port.
        """
        listening = self.listener()
        self.sayDigests(listening, greeting)
        return int(listening.getsockname()[1])

    def proxy(self, port: int) -> TCP4ClientEndpoint:
        """
        The way to a proxy.
        """
        return TCP4ClientEndpoint(reactor, "127.0.0.1", port)

    def upload(self, endpoint: Any, data: bytes = MEGABYTES) -> Deferred[bytes]:
        """
        @return: fires with what the target says.
        """
        protocol = Uploader(data)
        connecting = endpoint.connect(Factory.forProtocol(lambda: protocol))
        said: Deferred[bytes] = connecting.addCallback(lambda _: protocol.said)
        return said

    @inlineCallbacks
    def assertServes(self, *endpoints: Any, greeting: bytes = b"") -> Any:
        """
        Through each of C{endpoints} all arrives, and the answer that comes after
        our end.
        """
        digest = hashlib.sha256(MEGABYTES).hexdigest().encode()
        for endpoint in endpoints:
            said = yield self.upload(endpoint)
            self.assertEqual(said, greeting + digest)


class _FullServer(ClientTestCase):
    """
    What is tested with any server that can do all of it.
    """

    def start(self) -> int:
        """
        @return: the port of such a server.
        """
        raise NotImplementedError

    @inlineCallbacks
    def connect(self) -> Any:
        """
        CONNECT, by address and by name, and in both versions.
        """
        greeting = b"220 hello\r\n"
        port, proxy = self.target(greeting), self.proxy(self.start())
        where = (reactor, proxy, "127.0.0.1", port)
        named = (reactor, proxy, "localhost", port)
        endpoints: list[Any] = [
            SOCKS5ClientEndpoint(*where),
            SOCKS5ClientEndpoint(*named),
            SOCKS5ClientEndpoint(*named, optimistic=True),
            SOCKS4ClientEndpoint(*where),
            SOCKS4ClientEndpoint(*named, socks4a=False),
        ]
        yield self.assertServes(*endpoints, greeting=greeting)

    @inlineCallbacks
    def refuse(self) -> Any:
        """
        What it says of a target that refuses, and of one that is not there.
        """
        proxy, port = self.proxy(self.start()), self.freePort()
        where = (reactor, proxy, "127.0.0.1", port)
        yield self.assertFailure(
            self.upload(SOCKS5ClientEndpoint(*where)), ConnectionRefused
        )
        early = SOCKS5ClientEndpoint(*where, optimistic=True)
        yield self.assertFailure(self.upload(early), ConnectionRefused)
        yield self.assertFailure(
            self.upload(SOCKS5ClientEndpoint(reactor, proxy, "x.invalid", port)),
            HostUnreachable,
        )
        yield self.assertFailure(
            self.upload(SOCKS5ClientEndpoint(*where, [LOGIN])), NoAcceptableMethod
        )
        yield self.assertFailure(
            self.upload(SOCKS4ClientEndpoint(*where)), GeneralFailure
        )

    @inlineCallbacks
    def bind(self) -> Any:
        """
        It listens for us.
        """
        endpoint = SOCKS5ClientEndpoint(
            reactor, self.proxy(self.start()), "127.0.0.1", 0
        )
        protocol = Uploader(b"data")
        binding = yield endpoint.bind(Factory.forProtocol(lambda: protocol))
        peer = socket.create_connection((binding.address.host, binding.address.port))
        self.addCleanup(peer.close)
        peer.sendall(b"220 hello\r\n")
        peer.shutdown(socket.SHUT_WR)
        yield binding.accepted
        self.assertEqual(binding.peer, Address.ip(*peer.getsockname()))
        said = yield protocol.said
        self.assertEqual(said, b"220 hello\r\n")

    @inlineCallbacks
    def associate(self) -> Any:
        """
        It relays datagrams.
        """
        echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(echo.close)
        echo.bind(("127.0.0.1", 0))
        echo.settimeout(PATIENCE)
        receiver = Receiver()
        endpoint = SOCKS5ClientEndpoint(reactor, self.proxy(self.start()), "0.0.0.0", 0)
        association = yield endpoint.associate(receiver)
        target = Address.ip(*echo.getsockname())
        for data in (b"one", bytes(1400), b"last"):
            association.send(data, target)
            came, source = echo.recvfrom(1 << 16)
            self.assertEqual(came, data)
            echo.sendto(data + b" back", source)
            received = yield receiver.next()
            self.assertEqual(received, (data + b" back", target))
        association.close()
        self.assertEqual(receiver.dropped, [])


class DanteTests(_FullServer):
    """
    Dante.
    """

    def start(self) -> int:
        return self.startDante()

    @needs("danted")
    def test_connect(self) -> Any:
        """
        Both versions, and the answer that comes after our end.
        """
        return self.connect()

    @needs("danted")
    def test_refuse(self) -> Any:
        """
        Its replies are errors by their code.
        """
        return self.refuse()

    @needs("danted")
    def test_bind(self) -> Any:
        """
        BIND.
        """
        return self.bind()

    @needs("danted")
    def test_associate(self) -> Any:
        """
        UDP ASSOCIATE.
        """
        return self.associate()


class OurServerTests(_FullServer):
    """
    Our own server.
    """

    def start(self) -> int:
        self.server = self.startProxy()
        return self.server.port

    @inlineCallbacks
    def test_connect(self) -> Any:
        """
        The answer that comes after our end, too.
        """
        yield self.connect()
        proxy = self.proxy(self.server.port)
        where = (reactor, proxy, "localhost", self.target(b"220 hello\r\n"))
        yield self.assertServes(
            HTTPConnectClientEndpoint(*where),
            SOCKS4ClientEndpoint(*where),
            greeting=b"220 hello\r\n",
        )
        self.assertQuiet(self.server)

    @inlineCallbacks
    def test_refuse(self) -> Any:
        """
        Its replies are errors by their code.
        """
        yield self.refuse()
        self.assertQuiet(self.server)

    @inlineCallbacks
    def test_bind(self) -> Any:
        """
        BIND.
        """
        yield self.bind()
        self.assertQuiet(self.server)

    @inlineCallbacks
    def test_associate(self) -> Any:
        """
        UDP ASSOCIATE.
        """
        yield self.associate()
        self.assertQuiet(self.server)

    @inlineCallbacks
    def test_login(self) -> Any:
        """
        With a login, and with a wrong one.
        """
        proxy = self.startProxy("--port", "0", "--auth", "memory:ann:s3cret")
        where = (reactor, self.proxy(proxy.port), "localhost", self.target())
        yield self.assertServes(
            SOCKS5ClientEndpoint(*where, [NoLogin(), LOGIN]),
            SOCKS5ClientEndpoint(*where, [LOGIN], optimistic=True),
        )
        for isOptimistic in (False, True):
            wrong = SOCKS5ClientEndpoint(
                *where, [PasswordLogin("ann", "wrong")], optimistic=isOptimistic
            )
            yield self.assertFailure(self.upload(wrong), LoginRefused)
        self.assertQuiet(proxy)

    @inlineCallbacks
    def test_inPieces(self) -> Any:
        """
        However the network cuts it: 1 byte at a time, 10 bytes at a time.
        """
        proxy = self.startProxy("--port", "0", "--auth", "memory:ann:s3cret")
        data = b"some bytes and then some more"
        digest = hashlib.sha256(data).hexdigest().encode()
        for size in (1, 10):
            factory = Factory.forProtocol(partial(Cutter, size, self.proxy(proxy.port)))
            cutting = yield TCP4ServerEndpoint(
                reactor, 0, interface="127.0.0.1"
            ).listen(factory)
            self.addCleanup(cutting.stopListening)
            for isOptimistic in (False, True):
                endpoint = SOCKS5ClientEndpoint(
                    reactor,
                    self.proxy(cutting.getHost().port),
                    "localhost",
                    self.target(b"hello "),
                    [LOGIN],
                    optimistic=isOptimistic,
                )
                said = yield self.upload(endpoint, data)
                self.assertEqual(said, b"hello " + digest)
        self.assertQuiet(proxy)

    @inlineCallbacks
    def test_reachedByName(self) -> Any:
        """
        An endpoint from its description, through two proxies.
        """
        first, second, port = self.start(), self.start(), self.target()
        inner = f"socks5:127.0.0.1:port={first}:host=127.0.0.1:hostPort={second}"
        endpoint = clientFromString(
            reactor,
            f"socks5:proxy={quoteStringArgument(inner)}:host=localhost:hostPort={port}",
        )
        yield self.assertServes(endpoint)


class SimpleProxyTests(ClientTestCase):
    """
    Proxies that can do less.
    """

    @needs("microsocks")
    @inlineCallbacks
    def test_microsocks(self) -> Any:
        """
        microsocks, which loses what comes after an end: so none is sent.
        """
        listening = self.listener()
        yield self.talk(
            SOCKS5ClientEndpoint(
                reactor,
                self.proxy(self.startMicrosocks()),
                "localhost",
                listening.getsockname()[1],
            ),
            listening,
        )

    @needs("microsocks")
    @inlineCallbacks
    def test_microsocksLogin(self) -> Any:
        """
        The same with a login, with a wrong one, and without.
        """
        proxy = self.proxy(self.startMicrosocks("-u", "ann", "-P", "s3cret"))
        listening = self.listener()
        where = (reactor, proxy, "127.0.0.1", listening.getsockname()[1])
        yield self.talk(SOCKS5ClientEndpoint(*where, (NoLogin(), LOGIN)), listening)
        wrong = SOCKS5ClientEndpoint(*where, [PasswordLogin("ann", "wrong")])
        yield self.assertFailure(self.upload(wrong), LoginRefused)
        without = SOCKS5ClientEndpoint(*where)
        yield self.assertFailure(self.upload(without), NoAcceptableMethod)

    @needs("tinyproxy")
    @inlineCallbacks
    def test_tinyproxy(self) -> Any:
        """
        HTTP, with a login, with a wrong one, and without.
        """
        proxy = self.proxy(self.startTinyproxy("BasicAuth ann s3cret\n"))
        listening = self.listener()
        where = (reactor, proxy, "localhost", listening.getsockname()[1])
        yield self.talk(HTTPConnectClientEndpoint(*where, LOGIN), listening)
        for login in (None, PasswordLogin("ann", "wrong")):
            endpoint = HTTPConnectClientEndpoint(*where, login)
            yield self.assertFailure(self.upload(endpoint), LoginRefused)

    @needs("danted", "microsocks", "tinyproxy")
    @inlineCallbacks
    def test_nested(self) -> Any:
        """
        Three of them in a row, and nothing of ours in between.
        """
        listening = self.listener()
        first = self.proxy(self.startDante())
        second = SOCKS4ClientEndpoint(
            reactor, first, "127.0.0.1", self.startMicrosocks()
        )
        third = SOCKS5ClientEndpoint(
            reactor, second, "127.0.0.1", self.startTinyproxy()
        )
        port = listening.getsockname()[1]
        endpoint = HTTPConnectClientEndpoint(reactor, third, "localhost", port)
        yield self.talk(endpoint, listening)

    @inlineCallbacks
    def test_noProxy(self) -> Any:
        """
        A proxy that is not there, and a server that is none.
        """
        gone = SOCKS5ClientEndpoint(reactor, self.proxy(self.freePort()), "h", 1)
        yield self.assertFailure(self.upload(gone), ProxyUnreachable)
        other = self.proxy(self.target(b"220 hello\r\n"))
        for kind in (
            SOCKS5ClientEndpoint,
            SOCKS4ClientEndpoint,
            HTTPConnectClientEndpoint,
        ):
            endpoint = kind(reactor, other, "h", 1)
            yield self.assertFailure(self.upload(endpoint), ProxyProtocolError)

    @inlineCallbacks
    def talk(self, endpoint: Any, listening: socket.socket) -> Any:
        """
        A question and an answer.
        """
        asked: Deferred[bytes] = Deferred()
        gone: Deferred[None] = Deferred()

        class Asker(Protocol):
            transport: Any

            def connectionMade(self) -> None:
                self.transport.write(b"question")

            def dataReceived(self, data: bytes) -> None:
                asked.callback(data)

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                gone.callback(None)

        protocol = yield endpoint.connect(Factory.forProtocol(Asker))
        # Nothing of ours is left between the socket and the protocol.
        self.assertIsInstance(protocol.transport, Connection)
        self.assertIs(protocol.transport.protocol, protocol)
        target = self.accept(listening)
        # The socket of this very thread has to be written to first.
        yield deferToThread(lambda: self.assertEqual(target.receive(8), b"question"))
        target.socket.sendall(b"answer")
        answer = yield asked.addTimeout(PATIENCE, reactor)
        self.assertEqual(answer, b"answer")
        protocol.transport.loseConnection()
        yield gone


@skipIf(noTLS, "Twisted's TLS is not installed: pip install 'socksproxy[tls]'")
class TLSTests(ClientTestCase):
    """
    TLS to the proxy, through the proxy, and both.
    """

    def secured(self) -> tuple[str, Any]:
        """
        @return: what to listen on, and what a client has to know of it.
        """
        path = self.certificate()
        certificate = Certificate.loadPEM(Path(f"{path}.crt").read_bytes())
        roots = trustRootFromCertificates([certificate])
        return (
            f"ssl:0:interface=127.0.0.1:privateKey={path}:certKey={path}",
            optionsForClientTLS("localhost", roots),
        )

    @needs("openssl")
    @inlineCallbacks
    def test_everywhere(self) -> Any:
        """
        Each layer is its own.
        """
        listen, trust = self.secured()
        proxy = self.startProxy("--listen", listen)
        echo = yield serverFromString(reactor, listen).listen(Factory.forProtocol(Echo))
        self.addCleanup(echo.stopListening)
        port, plain = echo.getHost().port, self.startProxy()
        overTLS = wrapClientTLS(trust, self.proxy(proxy.port))
        for way in (
            SOCKS5ClientEndpoint(reactor, overTLS, "localhost", port),
            SOCKS5ClientEndpoint(reactor, self.proxy(plain.port), "localhost", port),
            SOCKS5ClientEndpoint(
                reactor, self.proxy(plain.port), "localhost", port, optimistic=True
            ),
            SOCKS5ClientEndpoint(
                reactor,
                SOCKS5ClientEndpoint(reactor, overTLS, "127.0.0.1", plain.port),
                "localhost",
                port,
            ),
        ):
            asker = Asker()
            endpoint = wrapClientTLS(trust, way)
            yield endpoint.connect(Factory.forProtocol(partial(_this, asker)))
            answer = yield asker.answer
            self.assertEqual(answer, MEGABYTES[:100_000])
            asker.transport.loseConnection()
            yield asker.gone
        self.assertQuiet(proxy)
        self.assertQuiet(plain)

    @needs("openssl")
    @inlineCallbacks
    def test_switched(self) -> Any:
        """
        Also on a TLS transport nothing of ours is left in between.
        """
        listen, trust = self.secured()
        proxy = self.startProxy("--listen", listen)
        overTLS = wrapClientTLS(trust, self.proxy(proxy.port))
        endpoint = SOCKS5ClientEndpoint(reactor, overTLS, "localhost", self.target())
        uploader = Uploader(b"")
        yield endpoint.connect(Factory.forProtocol(lambda: uploader))
        self.assertIs(uploader.transport.wrappedProtocol, uploader)
        uploader.transport.abortConnection()
        yield self.assertFailure(uploader.said, ConnectionAborted, ConnectionLost)


def _this(protocol: Protocol) -> Protocol:
    return protocol


class Echo(Protocol):
    """
    Says what it is told.
    """

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class Asker(Protocol):
    """
    Sends a good deal, and waits for as much.
    """

    transport: Any

    def connectionMade(self) -> None:
        self._received = b""
        self.answer: Deferred[bytes] = Deferred()
        self.answer.addTimeout(PATIENCE, reactor)
        self.gone: Deferred[None] = Deferred()
        self.transport.write(MEGABYTES[:100_000])

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) == 100_000:
            self.answer.callback(self._received)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)


@implementer(IDatagramReceiver)
class Receiver:
    """
    Gives what has come to whoever asks for it.
    """

    def __init__(self) -> None:
        self._received: list[tuple[bytes, Address]] = []
        self._waiting: Deferred[tuple[bytes, Address]] | None = None
        self.dropped: list[bytes] = []

    def datagramReceived(self, data: bytes, source: Address) -> None:
        self._received.append((data, source))
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(self._received.pop(0))

    def datagramDropped(self, data: bytes) -> None:
        self.dropped.append(data)

    def associationLost(self) -> None:
        raise AssertionError("it was not to be lost")

    def datagramRejected(self, data: bytes) -> None:
        raise AssertionError("nobody but a server would")

    def next(self) -> Deferred[tuple[bytes, Address]]:
        """
        The next one.
        """
        waiting: Deferred[tuple[bytes, Address]] = Deferred()
        waiting.addTimeout(PATIENCE, reactor)
        if self._received:
            waiting.callback(self._received.pop(0))
        else:
            self._waiting = waiting
        return waiting
