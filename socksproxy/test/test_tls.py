"""
Tests for L{socksproxy.tls}: what it reads; how it serves is in
L{socksproxy.test.test_options_tls}.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import skipIf

from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import (
    IOpenSSLServerConnectionCreator,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.service import IReadAgain
from socksproxy.test.test_auth_certificate import noTLS

if not noTLS:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )
    from OpenSSL import SSL
    from twisted.protocols.tls import TLSMemoryBIOFactory

    from socksproxy.test.authority import Authority
    from socksproxy.tls import tlsFromString


@skipIf(noTLS, noTLS)
class TLSTestCase(SynchronousTestCase):
    """
    An authority, and a server's files.
    """

    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        self.authority = Authority(self.directory)
        self.server = self.authority.server()
        self.reactor: Any = MemoryReactor()

    def made(self, description: str, clientCA: str | None = None) -> Any:
        """
        The endpoint that C{description} stands for.
        """
        return tlsFromString(self.reactor, description, clientCA)

    def assertWrong(self, description: str, *words: str) -> None:
        """
        It stands for nothing, and one line says why.
        """
        said = str(self.assertRaises(ValueError, self.made, description))
        self.assertNotIn("\n", said)
        for word in words:
            self.assertIn(word, said)

    def write(self, name: str, data: bytes) -> str:
        """
        @return: the path of a file that has C{data}.
        """
        path = Path(self.directory, name)
        path.write_bytes(data)
        return str(path)


class DescriptionTests(TLSTestCase):
    """
    The grammar of C{tls:} and C{ssl:}.
    """

    def test_interfaces(self) -> None:
        """
        What it gives are endpoints that can read their files again.
        """
        endpoint = self.made(f"tls:0:privateKey={self.server}")
        verifyObject(IStreamServerEndpoint, endpoint)
        verifyObject(IOpenSSLServerConnectionCreator, endpoint)
        verifyObject(IReadAgain, endpoint)

    def test_address(self) -> None:
        """
        Port, interface and backlog are those of a TCP endpoint, over which there
        is TLS.
        """
        for kind in ("tls", "ssl"):
            for arguments, expected in (
                ("1443", (1443, 50, "")),
                ("port=1443", (1443, 50, "")),
                ("1:interface=127.0.0.1:backlog=7", (1, 7, "127.0.0.1")),
                (r"1:interface=\:\:1", (1, 50, "::1")),
            ):
                description = f"{kind}:{arguments}:privateKey={self.server}"
                self.made(description).listen(Factory())
                port, factory, backlog, interface = self.reactor.tcpServers.pop()
                self.assertEqual((port, backlog, interface), expected)
                self.assertIsInstance(factory, TLSMemoryBIOFactory)

    def test_endpoint(self) -> None:
        """
        Anything else to listen on is an endpoint's description itself.
        """
        for inner in (r"tcp\:7", r"haproxy\:tcp\:7"):
            endpoint = self.made(f"tls:endpoint={inner}:privateKey={self.server}")
            endpoint.listen(Factory())
            self.assertEqual(self.reactor.tcpServers.pop()[0], 7)
        self.assertWrong(f"tls:endpoint=carrier:privateKey={self.server}", "carrier")

    def test_quoted(self) -> None:
        """
        A backslash takes its meaning from what follows, as in every endpoint's
        description; an equals sign has one only the first time.
        """
        odd = self.write("a:b=c\\d", Path(self.server).read_bytes())
        files = self.made(f"tls:0:privateKey={quoteStringArgument(odd)}").files
        self.assertEqual(files.privateKey, os.path.abspath(odd))

    def test_files(self) -> None:
        """
        The certificate may be in the key's file; all paths are kept as they were
        meant, whatever directory the process changes to.
        """
        files = self.made(f"tls:0:privateKey={self.server}").files
        self.assertEqual(files.privateKey, os.path.abspath(self.server))
        self.assertEqual(files.certKey, files.privateKey)
        self.assertIsNone(files.clientCA)
        files = self.made(
            f"tls:0:privateKey={self.server}:certKey={self.server}"
            f":extraCertChain={self.authority.path}"
        ).files
        self.assertEqual(len(files.certificates()), 2)

    def test_clientCA(self) -> None:
        """
        A listener's own authority for clients goes before that of all.
        """
        other = Authority(self.directory, "other").path
        for own, of, expected in (
            ("", None, None),
            ("", other, other),
            (f":clientCA={self.authority.path}", other, self.authority.path),
        ):
            files = self.made(f"tls:0:privateKey={self.server}{own}", of).files
            self.assertEqual(files.clientCA, expected and os.path.abspath(expected))

    def test_options(self) -> None:
        """
        What is weak is switched off, whatever OpenSSL would do by itself.
        """
        for kind in ("tls", "ssl"):
            files = self.made(f"{kind}:0:privateKey={self.server}").files
            context = files.context(files.certificates())
            options = context.set_options(0)
            for name in (
                *("NO_SSLv3", "NO_TLSv1", "NO_TLSv1_1"),
                *("NO_COMPRESSION", "NO_RENEGOTIATION", "NO_TICKET"),
            ):
                self.assertTrue(options & getattr(SSL, f"OP_{name}"), name)
            for name in ("NO_TLSv1_2", "NO_TLSv1_3"):
                self.assertFalse(options & getattr(SSL, f"OP_{name}"), name)
            self.assertEqual(context.get_session_cache_mode(), SSL.SESS_CACHE_OFF)

    def test_wrong(self) -> None:
        """
        What is wrong is named.
        """
        key = f"privateKey={self.server}"
        for description in ("tls", f"tls:{key}", f"tls::{key}"):
            self.assertWrong(description, "''", "port")
        for port in ("x", "65536", "-1", "/etc/certificates"):
            self.assertWrong(f"tls:{port}:{key}", repr(port), "port")
        self.assertWrong(f"tls:1:2:{key}", "'2'")
        self.assertWrong(f"tls:1:{key}:backlog=x", "'x'", "backlog")
        self.assertWrong("tls:1", "privateKey=FILE")
        # These would be weaker than what there is, or are of no use.
        for argument in ("sslmethod=TLSv1_METHOD", "dhParameters=x", "colour=red"):
            self.assertWrong(f"ssl:1:{key}:{argument}", argument.partition("=")[0])

    def test_noAuthorityByMistake(self) -> None:
        """
        However C{clientCA} is spoilt, there is no listener that asks nobody.
        """
        for spoilt in ("", "\\", "x\\"):
            self.assertWrong(f"tls:1:privateKey={self.server}:clientCA={spoilt}")
        self.assertRaises(ValueError, self.made, f"tls:1:privateKey={self.server}", "")


class FilesTests(TLSTestCase):
    """
    Keys and certificates that are not what they should be.
    """

    def test_missing(self) -> None:
        """
        A file that is not there, or cannot be read, is named, with the reason.
        """
        for option in ("privateKey", "certKey", "extraCertChain", "clientCA"):
            rest = "" if option == "privateKey" else f"privateKey={self.server}:"
            for path, reason in (
                ("/no/file", "No such file"),
                (self.directory, "Is a directory"),
            ):
                self.assertWrong(f"tls:1:{rest}{option}={path}", path, reason)

    def test_nonsense(self) -> None:
        """
        A file that has nothing of what is wanted is named, but not quoted.
        """
        nonsense = self.write("nonsense", b"-----BEGIN SECRET-----\nabc\n")
        for option in ("certKey", "extraCertChain", "clientCA"):
            self.assertWrong(
                f"tls:1:privateKey={self.server}:{option}={nonsense}",
                nonsense,
                "no certificate",
            )
        for key in (nonsense, self.authority.path):
            self.assertWrong(
                f"tls:1:privateKey={key}:certKey={self.server}", key, "no usable key"
            )

    def test_anotherKey(self) -> None:
        """
        A key and a certificate that have nothing to do with each other.
        """
        key = self.authority.client("alice")
        self.assertWrong(
            f"tls:1:privateKey={key}:certKey={self.server}", key, self.server
        )

    def test_weakKey(self) -> None:
        """
        What OpenSSL will not have is told in its words.
        """
        key = rsa.generate_private_key(65537, 1024)
        certificate = self.authority.certificateFor(["weak"], key=key)
        weak = self.write(
            "weak.pem",
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM),
        )
        self.assertWrong(f"tls:1:privateKey={weak}", weak, "key too small")

    def test_password(self) -> None:
        """
        A key with a password is refused, and nobody is asked for it.
        """
        key = load_pem_private_key(Path(self.server).read_bytes(), None)
        locked = self.write(
            "locked.pem",
            key.private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
            ),
        )
        self.assertWrong(
            f"tls:1:privateKey={locked}:certKey={self.server}", locked, "password"
        )

    def test_notNow(self) -> None:
        """
        A certificate that is not valid now is good enough to start with, but
        there is a warning.
        """
        events: list[Any] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for days, words in (((-9, -2), "has expired"), ((2, 9), "not valid before")):
            path = self.authority.server("old", days)
            self.made(f"tls:1:privateKey={path}")
            (event,) = events
            events.clear()
            self.assertEqual(event["log_level"].name, "warn")
            self.assertIn(words, event["complaint"])
            self.assertIn("CN=old", event["complaint"])
        self.made(f"tls:1:privateKey={self.server}")
        self.assertEqual(events, [])
