"""
The options of GSSAPI logins.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from twisted.python import usage

from socksproxy.interfaces import IAuthenticator
from socksproxy.options.named import named
from socksproxy.wire.gssapi import Protection

__all__ = ["GSSAPIOptions"]

_PROTECTIONS = {
    "off": None,
    "none": Protection.NONE,
    "integrity": Protection.INTEGRITY,
    "confidentiality": Protection.CONFIDENTIALITY,
}


def _keytab(path: str) -> str:
    """
    A file that can be read, of which the library says less when it cannot.  It
    is read again for each login, when the current directory may be another one.
    """
    try:
        with open(path, "rb"):
            return os.path.abspath(path)
    except OSError as wrong:
        raise ValueError(f"{path}: {wrong.strerror}") from None


def _protection(text: str) -> str:
    """
    The name of a level of protection.
    """
    if text not in _PROTECTIONS:
        raise ValueError(f"{text!r} is not off, none, integrity or confidentiality")
    return text


@named
class GSSAPIOptions:
    """
    Who has a ticket may use the proxy.
    """

    optFlags: ClassVar[list[list[Any]]] = [
        [
            "gssapi",
            None,
            "Demand a login by GSSAPI (RFC 1961), a Kerberos ticket for this proxy; "
            "with --auth either will do. Wants the extra socksproxy[gssapi].",
        ],
        [
            "gssapi-nec",
            None,
            "Let clients that have logged in say in clear which protection they want, "
            "as NEC's do, and curl with --socks5-gssapi-nec.",
        ],
    ]
    optParameters: ClassVar[list[list[Any]]] = [
        [
            "gssapi-service",
            None,
            None,
            "The service that tickets are for: a name as in rcmd, which curl asks for, "
            "rcmd@HOST, or rcmd/HOST@REALM [default: any that there are keys for].",
        ],
        [
            "gssapi-keytab",
            None,
            None,
            "File with the keys of the service [default: the system's, most often "
            "/etc/krb5.keytab].",
            _keytab,
        ],
        [
            "gssapi-protection",
            None,
            "none",
            "The least protection of all that follows a login: none, integrity or "
            "confidentiality, which is encryption. With off there is none to be had, "
            "for clients that ask for what they cannot do, as curl since 8.17.",
            _protection,
        ],
    ]

    def checkGSSAPI(self: Any) -> None:
        """
        Nobody thinks that something is protected which is not.

        @raise usage.UsageError: there is no C{--gssapi} for what was asked of it.
        """
        if self["gssapi"]:
            return
        for name in ("nec", "service", "keytab", "protection"):
            if self[f"gssapi-{name}"] not in (None, 0, "none"):
                raise usage.UsageError(f"--gssapi-{name} says nothing without --gssapi")

    def gssapiAuthenticators(self: Any, reactor: Any) -> list[IAuthenticator]:
        """
        One, or none unless C{--gssapi} is given.

        @raise ValueError: it cannot be; says why in one line.
        """
        if not self["gssapi"]:
            return []
        try:
            from socksproxy.auth.gssapi import GSSAPIAuthenticator
        except ImportError as wrong:
            raise ValueError(
                f"--gssapi wants pip install 'socksproxy[gssapi]' ({wrong})"
            ) from None
        least = _PROTECTIONS[self["gssapi-protection"]]
        try:
            authenticator = GSSAPIAuthenticator(
                reactor,
                service=self["gssapi-service"],
                keytab=self["gssapi-keytab"],
                least=least or Protection.NONE,
                protects=least is not None,
                nec=bool(self["gssapi-nec"]),
            )
        except ValueError as wrong:
            raise ValueError(f"--gssapi: {wrong}") from None
        return [authenticator]
