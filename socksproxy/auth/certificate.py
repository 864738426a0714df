"""
A client is who its TLS certificate says: no SOCKS login (method 00) is needed.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID
from zope.interface import implementer

from socksproxy.interfaces import (
    Granted,
    IAuthenticator,
    Identity,
    INegotiation,
    ISession,
)
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Method

__all__ = ["CertificateAuthenticator", "nameIn"]

_ALTERNATIVES = (x509.RFC822Name, x509.DNSName, x509.UniformResourceIdentifier)


def nameIn(certificate: x509.Certificate) -> str:
    """
    Who it was made for: the common name of its subject or, where that has none or
    several, the first e-mail address of its alternative names, else the first DNS
    name, else the first URI.

    @return: the empty string: it has nothing of these.
    """
    try:
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if len(names) == 1 and names[0].value:
            return str(names[0].value)
        alternatives = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    for kind in _ALTERNATIVES:
        for name in alternatives.get_values_for_type(kind):
            if name:
                return str(name)
    return ""


@implementer(IAuthenticator)
class CertificateAuthenticator:
    """
    Takes the name that L{nameIn} finds.  It is for those only who have shown a
    certificate that names somebody; that it is valid is for the listener to see to.
    """

    method = int(Method.NO_AUTHENTICATION)

    def beginNegotiation(self, session: ISession) -> INegotiation | None:
        certificate = session.certificate
        name = "" if certificate is None else nameIn(certificate)
        return _Named(name) if name else None


@implementer(INegotiation)
class _Named:
    """
    There is nothing left to negotiate.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def advance(self, received: ReceiveBuffer) -> Granted:
        return Granted(Identity(self._name))

    def abandon(self) -> None:
        pass
