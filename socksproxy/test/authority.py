"""
A certificate authority that lives as long as a test.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority"]

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH


class Authority:
    """
    Issues certificates, and keeps all in files of one directory.

    @ivar path: the file of its own certificate.
    @ivar certificate: that one.
    """

    def __init__(
        self, directory: str, name: str = "authority", issuer: Authority | None = None
    ) -> None:
        """
        @param issuer: who has signed its certificate; itself unless given.
        """
        self.directory = directory
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        by = issuer or self
        self.certificate = (
            _begun(self.name, by.name, self.key.public_key(), 0, 2)
            .add_extension(x509.BasicConstraints(True, None), True)
            .sign(by.key, hashes.SHA256())
        )
        self.path = self._write(f"{name}.pem", _pem(self.certificate))

    def certificateFor(
        self,
        names: Sequence[str],
        alternatives: Sequence[x509.GeneralName] = (),
        usage: x509.ObjectIdentifier = CLIENT,
        days: tuple[int, int] = (-1, 1),
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
    ) -> x509.Certificate:
        """
        @param names: common names.
        @param days: from when until when it is valid, from today.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]
        )
        builder = _begun(subject, self.name, key.public_key(), *days)
        if alternatives:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(alternatives), False
            )
        return builder.add_extension(x509.ExtendedKeyUsage([usage]), False).sign(
            self.key, hashes.SHA256()
        )

    def client(self, name: str, days: tuple[int, int] = (-1, 1)) -> str:
        """
        @param name: empty for a certificate that names nobody.
        @return: a file with a client's key and certificate.
        """
        return self._both(name or "nobody", [name] * bool(name), CLIENT, days, ())

    def server(self, name: str = "server", days: tuple[int, int] = (-1, 1)) -> str:
        """
        @return: a file with the key and the certificate of 127.0.0.1.
        """
        loopback = x509.IPAddress(ip_address("127.0.0.1"))
        return self._both(name, [name], SERVER, days, (loopback,))

    def context(self, client: str | None = None) -> ssl.SSLContext:
        """
        How a client trusts it.

        @param client: the client's key and certificate.
        """
        context = ssl.create_default_context(cafile=self.path)
        if client is not None:
            context.load_cert_chain(client)
        return context

    def _both(
        self,
        file: str,
        names: Sequence[str],
        usage: x509.ObjectIdentifier,
        days: tuple[int, int],
        alternatives: Sequence[x509.GeneralName],
    ) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.certificateFor(names, alternatives, usage, days, key)
        return self._write(f"{file}.pem", _keyPEM(key) + _pem(certificate))

    def _write(self, name: str, data: bytes) -> str:
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(data)
        return path


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    begin: int,
    end: int,
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begin, minutes=-5))
        .not_valid_after(now + timedelta(days=end))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _keyPEM(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
