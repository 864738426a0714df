"""
Who we are: nobody in particular, or a user with a password.
"""

from __future__ import annotations

from base64 import b64encode

from zope.interface import implementer

from socksproxy.client.errors import LoginRefused
from socksproxy.client.interfaces import (
    Accepted,
    ClientStep,
    IClientAuthenticator,
    IClientNegotiation,
)
from socksproxy.interfaces import Continue
from socksproxy.wire.address import printable
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command, Method
from socksproxy.wire.socks5 import Login, LoginAnswer

__all__ = ["NoLogin", "PasswordLogin"]

_ACCEPTED = Accepted()


@implementer(IClientAuthenticator, IClientNegotiation)
class NoLogin:
    """
    NO AUTHENTICATION REQUIRED.  There is nothing to remember: one object is
    every connection's negotiation.
    """

    method = int(Method.NO_AUTHENTICATION)
    isOneWay = True

    def beginNegotiation(self, command: Command) -> IClientNegotiation:
        return self

    def advance(self, received: ReceiveBuffer) -> ClientStep:
        return _ACCEPTED

    def abandon(self) -> None:
        pass


@implementer(IClientAuthenticator)
class PasswordLogin:
    """
    USERNAME/PASSWORD (RFC 1929).

    @ivar username: as it is sent.
    """

    method = int(Method.USERNAME_PASSWORD)
    isOneWay = True

    def __init__(self, username: str | bytes, password: str | bytes) -> None:
        """
        @raise ValueError: there is no room for as many bytes, or for as few as
            none in the name.
        """
        self.username = _encoded(username)
        self._password = _encoded(password)
        if not 0 < len(self.username) <= 255:
            raise ValueError("a user name has 1 to 255 bytes")
        if len(self._password) > 255:
            raise ValueError("a password has 255 bytes at the most")

    def __repr__(self) -> str:
        name = printable(self.username.decode("utf-8", "surrogateescape"))
        return f"<PasswordLogin {name}>"

    def beginNegotiation(self, command: Command) -> IClientNegotiation:
        return _PasswordNegotiation(Login(1, self.username, self._password))

    def basic(self) -> bytes:
        """
        The same as HTTP has it (RFC 7617): the value of a header.
        """
        return b"Basic " + b64encode(self.username + b":" + self._password)


@implementer(IClientNegotiation)
class _PasswordNegotiation:
    """
    One login.
    """

    def __init__(self, login: Login) -> None:
        self._login: Login | None = login

    def advance(self, received: ReceiveBuffer) -> ClientStep | None:
        login, self._login = self._login, None
        if login is not None:
            return Continue(login.encode())
        answer = LoginAnswer.parse(received)
        if answer is None:
            return None
        if answer.status:
            raise LoginRefused("the proxy refused the login")
        return _ACCEPTED

    def abandon(self) -> None:
        self._login = None


def _encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
