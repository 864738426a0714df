"""
Client endpoints from their descriptions, for L{clientFromString
<twisted.internet.endpoints.clientFromString>}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, clientFromString
from twisted.internet.interfaces import IStreamClientEndpoint

from socksproxy.client.endpoints import (
    HTTPConnectClientEndpoint,
    SOCKS4ClientEndpoint,
    SOCKS5ClientEndpoint,
)
from socksproxy.client.interfaces import IClientAuthenticator
from socksproxy.client.login import NoLogin, PasswordLogin
from socksproxy.client.reach import TIMEOUT

__all__ = ["parse"]

_DEFAULT_PORTS = {"socks5": 1080, "socks4": 1080, "httpconnect": 8080}


def parse(
    prefix: str, reactor: Any, /, *arguments: str, **options: str
) -> IStreamClientEndpoint:
    """
    What C{PREFIX:PROXY:port=N:host=TARGET:hostPort=N:...} describes.

    Instead of C{PROXY} and C{port} there can be C{proxy=DESCRIPTION}, with its
    colons quoted: any client endpoint that leads to the proxy.

    @param prefix: C{socks5}, C{socks4} or C{httpconnect}.
    @raise ValueError: something is missing, or makes no sense, and what.
    """
    words = _Words(prefix, options)
    proxyHost = arguments[0] if arguments else None
    inner = _proxy(reactor, words, arguments)
    common: dict[str, Any] = {
        "host": words.needed("host"),
        "port": words.needed("hostPort", _number),
        "timeout": words.take("timeout", _seconds, TIMEOUT),
    }
    make: Callable[..., IStreamClientEndpoint]
    if prefix == "socks5":
        make = SOCKS5ClientEndpoint
        isOptimistic = words.take("optimistic", _yesOrNo, False)
        common["optimistic"] = isOptimistic
        ticket = _ticket(reactor, words, proxyHost)
        common["authenticators"] = (
            _methods(_login(words), isOptimistic) if ticket is None else (ticket,)
        )
    elif prefix == "socks4":
        make = SOCKS4ClientEndpoint
        common["userId"] = words.take("userId", str.encode, b"")
        common["socks4a"] = not words.take("resolve", _yesOrNo, False)
    else:
        make = HTTPConnectClientEndpoint
        common["login"] = _login(words)
    words.end()
    return make(reactor, inner, **common)


class _Words:
    """
    The named parts of a description, each taken once.

    @ivar prefix: what stands before all of them.
    """

    def __init__(self, prefix: str, options: dict[str, str]) -> None:
        self.prefix = prefix
        self._options = options

    def needed(self, name: str, convert: Callable[[str], Any] = str) -> Any:
        """
        @raise ValueError: it is missing, or makes no sense.
        """
        if name not in self._options:
            raise ValueError(f"{self.prefix}: {name}=... is missing")
        return self.take(name, convert, None)

    def take(self, name: str, convert: Callable[[str], Any], default: Any) -> Any:
        """
        @raise ValueError: it makes no sense.
        """
        if name not in self._options:
            return default
        try:
            return convert(self._options.pop(name))
        except ValueError as wrong:
            raise ValueError(f"{self.prefix}: {name}=... {wrong}") from None

    def end(self) -> None:
        """
        @raise ValueError: something is left that nobody knows.
        """
        for name in self._options:
            raise ValueError(f"{self.prefix}: there is no {name}=...")


def _proxy(
    reactor: Any, words: _Words, arguments: Sequence[str]
) -> IStreamClientEndpoint:
    description = words.take("proxy", str, None)
    if description is not None:
        if arguments:
            raise ValueError("either the proxy's host is given, or proxy=...")
        endpoint: IStreamClientEndpoint = clientFromString(reactor, description)
        return endpoint
    host, *more = arguments or [""]
    if not host:
        raise ValueError(f"{words.prefix}: the proxy's host is missing")
    try:
        (port,) = [_number(text) for text in more] or [_DEFAULT_PORTS[words.prefix]]
    except ValueError:
        # It can be what is left of a password.
        raise ValueError(
            f"{words.prefix}: there is too much behind the proxy's host, or it is not "
            "a port; a colon that is part of something is written \\:"
        ) from None
    port = words.take("port", _number, port)
    timeout = words.take("connectTimeout", _seconds, TIMEOUT)
    return HostnameEndpoint(reactor, host, port, timeout)


def _login(words: _Words) -> PasswordLogin | None:
    password = words.take("password", str, None)
    if password is not None:
        return PasswordLogin(words.needed("username"), password)
    username = words.take("username", str, None)
    return None if username is None else PasswordLogin(username, "")


def _ticket(
    reactor: Any, words: _Words, proxyHost: str | None
) -> IClientAuthenticator | None:
    """
    Whoever names a service demands encryption, and wants no other login.

    @raise ImportError: there is no GSSAPI here.
    """
    service = words.take("gssapi", str, None)
    if service is None:
        return None
    if proxyHost is None and "/" not in service:
        raise ValueError("the proxy's name is missing: gssapi=SERVICE/NAME")
    from socksproxy.client import GSSAPILogin

    return GSSAPILogin(reactor, proxyHost or "", service)


def _methods(
    login: PasswordLogin | None, isOptimistic: bool
) -> Sequence[IClientAuthenticator]:
    """
    With a login the proxy may still do without it, where it can be asked.
    """
    if login is None:
        return (NoLogin(),)
    return (login,) if isOptimistic else (NoLogin(), login)


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise ValueError("is not a port number")


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if 0 <= number < float("inf"):
        return number
    raise ValueError("is not a number of seconds, 0 or more")


def _yesOrNo(text: str) -> bool:
    if text in ("yes", "no"):
        return text == "yes"
    raise ValueError("is neither yes nor no")
