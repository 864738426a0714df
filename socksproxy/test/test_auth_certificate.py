"""
Tests for L{socksproxy.auth.certificate}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import os
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.interfaces import Granted, IAuthenticator, INegotiation
from socksproxy.testing import FakeSession
from socksproxy.wire.buffer import ReceiveBuffer

try:
    from cryptography import x509

    from socksproxy.auth.certificate import CertificateAuthenticator, nameIn
    from socksproxy.test.authority import Authority
except ImportError:
    noTLS = "TLS is not installed: pip install 'socksproxy[tls]'"
else:
    noTLS = ""


@skipIf(noTLS, noTLS)
class CertificateTestCase(SynchronousTestCase):
    """
    Certificates to look at.
    """

    def certificate(
        self, names: Sequence[str], alternatives: Sequence[Any] = ()
    ) -> Any:
        """
        One for somebody.
        """
        directory = self.mktemp()
        os.mkdir(directory)
        return Authority(directory).certificateFor(names, alternatives)


class NameInTests(CertificateTestCase):
    """
    Whom a certificate names.
    """

    def test_commonName(self) -> None:
        """
        The common name goes before all else.
        """
        for name in ("alice", "Zoë", "a b\nc"):
            certificate = self.certificate([name], [x509.RFC822Name("a@example.com")])
            self.assertEqual(nameIn(certificate), name)

    def test_alternatives(self) -> None:
        """
        Without one, or with several, it is an e-mail address, else a DNS name, else
        a URI; in whatever order they are, and the first of its kind.
        """
        address, other = (
            x509.IPAddress(ip_address("127.0.0.1")),
            x509.RFC822Name("b@example.com"),
        )
        mail, name = x509.RFC822Name("a@example.com"), x509.DNSName("a.example.com")
        uri = x509.UniformResourceIdentifier("spiffe://example.com/a")
        for alternatives, expected in (
            ((address, uri, name, mail, other), "a@example.com"),
            ((address, uri, name), "a.example.com"),
            ((address, uri), "spiffe://example.com/a"),
            ((address,), ""),
        ):
            for names in ((), ("one", "two")):
                certificate = self.certificate(names, alternatives)
                self.assertEqual(nameIn(certificate), expected)

    def test_nobody(self) -> None:
        """
        There may be no name at all.
        """
        self.assertEqual(nameIn(self.certificate([])), "")
        self.assertEqual(nameIn(self.certificate(["one", "two"])), "")

    def test_malformed(self) -> None:
        """
        What cannot be read names nobody.
        """

        class Malformed:
            @property
            def subject(self) -> Any:
                raise ValueError("error parsing asn1 value")

        certificate: Any = Malformed()
        self.assertEqual(nameIn(certificate), "")


class CertificateAuthenticatorTests(CertificateTestCase):
    """
    Who is let in for a certificate.
    """

    def test_interfaces(self) -> None:
        """
        It is an L{IAuthenticator} for METHOD 00, and begins an L{INegotiation}.
        """
        authenticator = CertificateAuthenticator()
        verifyObject(IAuthenticator, authenticator)
        self.assertEqual(authenticator.method, 0)
        session = FakeSession(certificate=self.certificate(["alice"]))
        negotiation = authenticator.beginNegotiation(session)
        verifyObject(INegotiation, negotiation)
        assert negotiation is not None
        negotiation.abandon()

    def test_grants(self) -> None:
        """
        The client has the name in its certificate, and nothing is taken of its
        request.
        """
        session = FakeSession(certificate=self.certificate(["alice"]))
        negotiation = CertificateAuthenticator().beginNegotiation(session)
        assert negotiation is not None
        received = ReceiveBuffer(b"\x05\x01\0")
        step = negotiation.advance(received)
        assert isinstance(step, Granted)
        self.assertEqual(step.identity.name, "alice")
        self.assertEqual((step.response, step.securityLayer), (b"", None))
        self.assertEqual(received.takeAll(), b"\x05\x01\0")

    def test_refuses(self) -> None:
        """
        A client without a certificate, as every one of a plain listener is, is
        not offered this method; nor is one whose certificate names nobody.
        """
        begin = CertificateAuthenticator().beginNegotiation
        self.assertIsNone(begin(FakeSession()))
        self.assertIsNone(begin(FakeSession(certificate=self.certificate([]))))
