"""
A server in this process on real sockets: transports of every kind.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    clientFromString,
    connectProtocol,
    serverFromString,
    wrapClientTLS,
)
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from socksproxy.outbound.direct import DirectConnector
from socksproxy.outbound.endpoint import EndpointConnector
from socksproxy.server.factory import Limits, SOCKS5Factory
from socksproxy.service import SOCKS5Service

reactor: Any = _reactor

try:
    from twisted.internet.ssl import (
        Certificate,
        optionsForClientTLS,
        trustRootFromCertificates,
    )

    noTLS = ""
except ImportError:
    noTLS = "Twisted's TLS is not installed: pip install 'socksproxy[tls]'"


@implementer(IHalfCloseableProtocol)
class Recorder(Protocol):
    """
    One end of a connection that remembers all.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.ended = False
        self.lost: Deferred[None] = Deferred()
        self._wanted: tuple[int, Deferred[bytes]] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._look()

    def receive(self, count: int) -> Deferred[bytes]:
        """
        Exactly the next C{count} bytes.
        """
        wanted: Deferred[bytes] = Deferred()
        self._wanted = (count, wanted)
        self._look()
        return wanted.addTimeout(30, reactor)

    def _look(self) -> None:
        if self._wanted is not None and len(self.received) >= self._wanted[0]:
            (count, wanted), self._wanted = self._wanted, None
            taken, self.received = self.received[:count], self.received[count:]
            wanted.callback(taken)

    def readConnectionLost(self) -> None:
        self.ended = True
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = True
        self.lost.callback(None)


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """
    Sends back what comes; at the end of it, says so and ends too.
    """

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        self.transport.write(b"that was all")
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass


class IntegrationTests(TestCase):
    """
    The same server over every transport.
    """

    timeout = 60

    async def listen(self, endpoint: Any, factory: Any) -> Any:
        """
        Listen until the test is over.
        """
        port = await endpoint.listen(factory)
        self.addCleanup(port.stopListening)
        return port

    async def echo(self) -> int:
        """
        The port of an echo server.
        """
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port = await self.listen(endpoint, Factory.forProtocol(Echo))
        return int(port.getHost().port)

    async def serve(self, description: str, **kwargs: Any) -> Any:
        """
        A proxy that listens on an endpoint.

        @return: its first port.
        """
        factory = SOCKS5Factory(reactor, **kwargs)
        endpoint = serverFromString(reactor, description)
        service = SOCKS5Service(factory, [endpoint], grace=0)
        service.startService()
        self.addCleanup(service.stopService)
        return service.ports[0]

    async def converse(self, client: Recorder, port: int) -> None:
        """
        A whole session with the echo server at C{port}.
        """
        client.transport.write(b"\x05\x01\x00")
        self.assertEqual(await client.receive(2), b"\x05\x00")
        client.transport.write(
            b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big") + b"early"
        )
        reply = await client.receive(10)
        self.assertEqual(reply[:8], b"\x05\x00\x00\x01\x7f\x00\x00\x01")
        self.assertEqual(await client.receive(5), b"early")
        data = os.urandom(3_000_000)
        client.transport.write(data)
        self.assertEqual(await client.receive(len(data)), data)

    async def test_tcp(self) -> None:
        """
        TCP, half-close included.
        """
        port = await self.serve("tcp:0:interface=127.0.0.1")
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        client = await connectProtocol(endpoint, Recorder())
        await self.converse(client, await self.echo())
        client.transport.loseWriteConnection()
        self.assertEqual(await client.receive(12), b"that was all")
        await client.lost

    async def test_unix(self) -> None:
        """
        A UNIX socket, half-close included.
        """
        path = os.path.relpath(self.mktemp())
        await self.serve(f"unix:{path}")
        client = await connectProtocol(UNIXClientEndpoint(reactor, path), Recorder())
        await self.converse(client, await self.echo())
        client.transport.loseWriteConnection()
        self.assertEqual(await client.receive(12), b"that was all")
        await client.lost

    async def test_unixTarget(self) -> None:
        """
        A target behind an endpoint of another kind: its answer has no address
        to tell.
        """
        path = os.path.relpath(self.mktemp())
        await self.listen(UNIXServerEndpoint(reactor, path), Factory.forProtocol(Echo))
        port = await self.serve(
            "tcp:0:interface=127.0.0.1",
            connector=EndpointConnector(lambda r: UNIXClientEndpoint(reactor, path)),
        )
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        client = await connectProtocol(endpoint, Recorder())
        client.transport.write(b"\x05\x01\x00\x05\x01\x00\x03\x01x\x00\x01hello")
        self.assertEqual(
            await client.receive(17), b"\x05\x00\x05\x00\x00\x01" + bytes(6) + b"hello"
        )
        client.transport.loseWriteConnection()
        self.assertEqual(await client.receive(12), b"that was all")
        await client.lost

    async def test_names(self) -> None:
        """
        Names are resolved by the system, off the reactor thread.
        """
        echo = await self.echo()
        port = await self.serve(
            "tcp:0:interface=127.0.0.1", connector=DirectConnector(reactor)
        )
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        client = await connectProtocol(endpoint, Recorder())
        client.transport.write(
            b"\x05\x01\x00\x05\x01\x00\x03\x09localhost"
            + echo.to_bytes(2, "big")
            + b"hello"
        )
        answer = await client.receive(12 + 5)
        self.assertEqual(answer[:5], b"\x05\x00\x05\x00\x00")
        self.assertEqual(answer[-5:], b"hello")
        client.transport.abortConnection()
        await client.lost

    def certificate(self) -> tuple[str, Any]:
        """
        A throwaway key and certificate for localhost.

        @return: the path of both in one PEM file, and the certificate.
        """
        from datetime import datetime, timedelta, timezone

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName("localhost")]), False
            )
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(pem)
            file.write(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
        return path, Certificate.loadPEM(pem)

    def clientTLS(self, certificate: Any) -> Any:
        """
        How a client checks it.
        """
        return optionsForClientTLS(
            "localhost", trustRootFromCertificates([certificate])
        )

    async def test_tls(self) -> None:
        """
        A client over TLS.
        """
        path, certificate = self.certificate()
        port = await self.serve(
            f"ssl:0:interface=127.0.0.1:privateKey={path}:certKey={path}"
        )
        endpoint = wrapClientTLS(
            self.clientTLS(certificate),
            HostnameEndpoint(reactor, "127.0.0.1", port.getHost().port),
        )
        client = await connectProtocol(endpoint, Recorder())
        await self.converse(client, await self.echo())
        client.transport.loseConnection()
        await client.lost

    async def test_tlsRefused(self) -> None:
        """
        Over TLS as well a refused client gets its answer and then the end.
        """
        path, certificate = self.certificate()
        port = await self.serve(
            f"ssl:0:interface=127.0.0.1:privateKey={path}:certKey={path}"
        )
        endpoint = wrapClientTLS(
            self.clientTLS(certificate),
            HostnameEndpoint(reactor, "127.0.0.1", port.getHost().port),
        )
        client = await connectProtocol(endpoint, Recorder())
        client.transport.write(b"\x05\x01\x02")
        self.assertEqual(await client.receive(2), b"\x05\xff")
        await client.lost

    async def test_tlsTarget(self) -> None:
        """
        A target over TLS, whose end reaches a client over TCP after all that
        it sent.
        """
        path, certificate = self.certificate()

        class Banner(Protocol):
            transport: Any

            def connectionMade(self) -> None:
                self.transport.write(b"x" * 1_000_000)
                self.transport.loseConnection()

        target = await self.listen(
            serverFromString(
                reactor, f"ssl:0:interface=127.0.0.1:privateKey={path}:certKey={path}"
            ),
            Factory.forProtocol(Banner),
        )
        port = await self.serve(
            "tcp:0:interface=127.0.0.1",
            connector=EndpointConnector(
                lambda request: wrapClientTLS(
                    self.clientTLS(certificate),
                    HostnameEndpoint(reactor, "127.0.0.1", target.getHost().port),
                )
            ),
        )
        client = await connectProtocol(
            clientFromString(reactor, f"tcp:127.0.0.1:{port.getHost().port}"),
            Recorder(),
        )
        client.transport.write(b"\x05\x01\x00\x05\x01\x00\x03\x01x\x00\x01")
        await client.receive(2 + 10)
        self.assertEqual(await client.receive(1_000_000), b"x" * 1_000_000)
        await client.lost

    async def test_maxConnections(self) -> None:
        """
        With a limit, the next client is served when one has left.
        """
        port = await self.serve(
            "tcp:0:interface=127.0.0.1", limits=Limits(maxConnections=1)
        )
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        first = await connectProtocol(endpoint, Recorder())
        first.transport.write(b"\x05\x01\x00")
        await first.receive(2)
        second = await connectProtocol(endpoint, Recorder())
        second.transport.write(b"\x05\x01\x00")
        answer = second.receive(2)
        self.assertFalse(answer.called)
        first.transport.loseConnection()
        self.assertEqual(await answer, b"\x05\x00")
        second.transport.loseConnection()
        await second.lost

    for _test in (test_tls, test_tlsRefused, test_tlsTarget):
        if noTLS:
            _test.skip = noTLS  # type: ignore[attr-defined]
    del _test
