"""
Options for listening with TLS.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.endpoints import serverFromString
from twisted.python import usage

from socksproxy.interfaces import IAuthenticator

__all__ = ["TLSOptions"]


class TLSOptions:
    """
    What the command line says of TLS.
    """

    optParameters: ClassVar[list[list[Any]]] = [
        [
            "client-ca",
            None,
            None,
            "PEM file with the certificates of authorities. Clients of tls: and ssl: "
            "listeners must have a certificate of one of these; its name is the "
            "user's, unless --auth demands a login too.",
        ],
    ]

    _areClientsCertified = False

    def checkTLS(self: Any) -> None:
        """
        @raise UsageError: nobody could be asked for a certificate.
        """
        if self["client-ca"] is not None and not any(map(_isTLS, self.descriptions())):
            raise usage.UsageError(
                "--client-ca wants a listener that can ask for certificates: "
                "--listen tls:PORT:privateKey=FILE:certKey=FILE"
            )

    def endpoint(self: Any, reactor: Any, description: str) -> Any:
        """
        @return: the L{IStreamServerEndpoint
            <twisted.internet.interfaces.IStreamServerEndpoint>} that
            C{description} stands for.
        @raise Exception: it stands for nothing.
        """
        if not _isTLS(description):
            return serverFromString(reactor, description)
        # What few want is loaded for them alone, and need not be installed.
        try:
            from socksproxy.tls import tlsFromString
        except ImportError as wrong:
            raise ValueError(
                f"{wrong.name} is not installed: pip install 'socksproxy[tls]'"
            ) from None
        endpoint = tlsFromString(reactor, description, self["client-ca"])
        if endpoint.files.clientCA is not None:
            self._areClientsCertified = True
        return endpoint

    def certificateAuthenticators(self) -> list[IAuthenticator]:
        """
        Who lets clients in for their certificates, once all endpoints are made:
        nobody, unless a listener asks for some.
        """
        if not self._areClientsCertified:
            return []
        from socksproxy.auth.certificate import CertificateAuthenticator

        return [CertificateAuthenticator()]


def _isTLS(description: str) -> bool:
    return description.partition(":")[0].lower() in ("tls", "ssl")
