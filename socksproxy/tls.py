"""
Listening with TLS.

TLS 1.2 is the least, with the ciphers that Twisted takes; nothing is renegotiated,
compressed or resumed.  What a listener is made of are PEM files.  They are read when
it is made, and again when somebody asks for it; connections that are there keep what
they have.  A file that is missing or wrong is a C{ValueError} with one line that
names it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    serverFromString,
)
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from socksproxy.errors import wordsOf
from socksproxy.service import IReadAgain

__all__ = ["TLSFiles", "TLSServerEndpoint", "tlsFromString"]

log = Logger()


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """
    Where a listener's TLS is from.

    @ivar privateKey: the key, without a password.
    @ivar certKey: its certificate, then those between that one and its authority,
        each followed by its issuer's.  It may be the file of the key.
    @ivar extraCertChain: more of those between.
    @ivar clientCA: the authorities whose certificates clients must have one of;
        L{None}: clients are not asked for one.
    """

    privateKey: str
    certKey: str
    extraCertChain: str | None = None
    clientCA: str | None = None

    def certificates(self) -> list[x509.Certificate]:
        """
        The certificate, and those between it and its authority.

        @raise ValueError: there is none.
        """
        found = _certificates(self.certKey)
        if self.extraCertChain is not None:
            found += _certificates(self.extraCertChain)
        return found

    def context(self, certificates: list[x509.Certificate]) -> SSL.Context:
        """
        @param certificates: as from L{certificates}.
        @raise ValueError: a file is not what it should be.
        """
        own, *chain = certificates
        try:
            key = load_pem_private_key(_contents(self.privateKey), None)
        except TypeError:
            raise ValueError(
                f"{self.privateKey}: the key has a password, which nobody could give"
            ) from None
        except Exception:
            # What it says may quote what it has read.
            raise ValueError(f"{self.privateKey}: there is no usable key") from None
        if _encoded(key.public_key()) != _encoded(own.public_key()):
            raise ValueError(
                f"{self.privateKey} has not the key of the first certificate in "
                f"{self.certKey}"
            )
        authorities = None
        if self.clientCA is not None:
            authorities = trustRootFromCertificates(
                [
                    Certificate.loadPEM(authority.public_bytes(Encoding.PEM))
                    for authority in _certificates(self.clientCA)
                ]
            )
        # Twisted passes them on to OpenSSL, which prefers these by now.
        what: Any = {"privateKey": key, "certificate": own, "extraCertChain": chain}
        try:
            context = CertificateOptions(
                **what,
                trustRoot=authorities,
                raiseMinimumTo=TLSVersion.TLSv1_2,
            ).getContext()
            if self.clientCA is not None:
                # Clients that have several certificates are told which will do.
                context.load_client_ca(os.fsencode(self.clientCA))
        except (SSL.Error, TypeError) as wrong:
            raise ValueError(f"{self.certKey}: {wordsOf(wrong)}") from None
        context.set_options(SSL.OP_NO_RENEGOTIATION)
        return context


@implementer(IStreamServerEndpoint, IOpenSSLServerConnectionCreator, IReadAgain)
class TLSServerEndpoint:
    """
    TLS over another endpoint.

    @ivar files: what is read.
    """

    def __init__(
        self, reactor: Any, endpoint: IStreamServerEndpoint, files: TLSFiles
    ) -> None:
        """
        @raise ValueError: a file is not what it should be.
        """
        self.files = files
        self._reactor = reactor
        self._endpoint = endpoint
        self._context = self._read()

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        return self._endpoint.listen(
            TLSMemoryBIOFactory(self, False, protocolFactory, clock=self._reactor)
        )

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return SSL.Connection(self._context)

    def readAgain(self) -> None:
        """
        The next connections get what the files have now.  One that is wrong
        leaves all as it was.
        """
        try:
            self._context = self._read()
        except ValueError as wrong:
            log.error("TLS goes on with the files as they were: {why}.", why=str(wrong))
        else:
            log.info(
                "{file} and what belongs to it were read again.",
                file=self.files.certKey,
            )

    def _read(self) -> SSL.Context:
        certificates = self.files.certificates()
        context = self.files.context(certificates)
        for complaint in _complaints(certificates, datetime.now(timezone.utc)):
            log.warn(
                "{file}: {complaint}.", file=self.files.certKey, complaint=complaint
            )
        return context


def tlsFromString(
    reactor: Any, description: str, clientCA: str | None = None
) -> TLSServerEndpoint:
    """
    What C{tls:} and C{ssl:} stand for.  The arguments are those of Twisted's
    C{ssl:}, where C{sslmethod} and C{dhParameters} have no use any more, and

     - C{clientCA}, as in L{TLSFiles};
     - C{endpoint}, the description of what to listen on instead of a port.

    Twisted's own C{tls:}, which version 24.7 does not have, cannot ask for
    certificates.

    @param clientCA: for a listener that does not name its own.
    @raise ValueError: the description, or a file, is wrong.
    """
    _, *arguments = _split(description)
    positional = [value for name, value in arguments if name is None]
    named = {name: value for name, value in arguments if name is not None}
    if "port" not in named and positional:
        named["port"] = positional.pop(0)
    if positional:
        raise ValueError(f"there is no use for {positional[0]!r}")
    inner = named.pop("endpoint", None)
    if inner is not None:
        endpoint = serverFromString(reactor, inner)
    else:
        endpoint = _tcp(
            reactor,
            named.pop("port", ""),
            named.pop("interface", ""),
            named.pop("backlog", "50"),
        )
    privateKey = named.pop("privateKey", None)
    if privateKey is None:
        raise ValueError(
            "it needs privateKey=FILE, and certKey=FILE if that is another"
        )
    certKey = named.pop("certKey", privateKey)
    chain, clientCA = named.pop("extraCertChain", None), named.pop("clientCA", clientCA)
    if named:
        raise ValueError(f"there is no use for {', '.join(map(repr, named))}")
    return TLSServerEndpoint(
        reactor,
        endpoint,
        TLSFiles(
            # Who reads them again may be somewhere else by then.
            os.path.abspath(privateKey),
            os.path.abspath(certKey),
            None if chain is None else os.path.abspath(chain),
            None if clientCA is None else os.path.abspath(clientCA),
        ),
    )


def _split(description: str) -> Iterator[tuple[str | None, str]]:
    """
    The arguments of an endpoint's description, each with its name if it has one.
    A backslash takes the meaning from what follows.
    """
    # The last one is the empty string where the description ends.
    for part in re.findall(r"(?s)((?:[^:\\]|\\.?)*)(?::|\Z)", description)[:-1]:
        name, isNamed, value = part.partition("=")
        yield (
            (name if isNamed else None),
            re.sub(r"(?s)\\(.)", r"\1", value if isNamed else part),
        )


def _tcp(
    reactor: Any, port: str, interface: str, backlog: str
) -> IStreamServerEndpoint:
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"{port!r} is not a port number, as in tls:1443:...")
    if not (backlog.isascii() and backlog.isdigit()):
        raise ValueError(f"backlog {backlog!r} is not a number")
    kind = TCP6ServerEndpoint if ":" in interface else TCP4ServerEndpoint
    return kind(reactor, int(port), int(backlog), interface)


def _contents(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as wrong:
        raise ValueError(f"{path}: {wrong.strerror}") from None


def _certificates(path: str) -> list[x509.Certificate]:
    contents = _contents(path)
    try:
        return x509.load_pem_x509_certificates(contents)
    except ValueError:
        raise ValueError(f"{path}: there is no certificate, or a broken one") from None


def _encoded(key: Any) -> bytes:
    return key.public_bytes(  # type: ignore[no-any-return]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


def _complaints(certificates: list[x509.Certificate], now: datetime) -> Iterator[str]:
    """
    What clients will not like about certificates, in words.
    """
    for certificate in certificates:
        subject = certificate.subject.rfc4514_string()
        if certificate.not_valid_after_utc < now:
            end = certificate.not_valid_after_utc
            yield f"the certificate of {subject} has expired, on {end:%Y-%m-%d}"
        elif certificate.not_valid_before_utc > now:
            begin = certificate.not_valid_before_utc
            yield f"the certificate of {subject} is not valid before {begin:%Y-%m-%d}"
