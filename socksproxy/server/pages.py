"""
What the proxy itself says in HTTP: a status and a few words.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from socksproxy.errors import isTimeout
from socksproxy.wire.constants import ReplyCode

if TYPE_CHECKING:
    import h11

__all__ = [
    "BAD_REQUEST",
    "CANNOT_LOG_IN",
    "GREETING",
    "INTERNAL_ERROR",
    "LOGIN_NEEDED",
    "MAX_HEAD",
    "NOT_ANSWERED",
    "NOT_HERE",
    "RECEIVED",
    "TIMED_OUT",
    "Page",
    "badRequest",
    "pageOf",
]

MAX_HEAD = 1 << 16
"""
Bytes of a message before its body.
"""


@dataclass(frozen=True, slots=True)
class Page:
    """
    One answer.

    @ivar text: a sentence or two.
    @ivar isLast: whether the connection ends with it.
    @ivar isChallenge: whether it asks for a login.
    """

    status: HTTPStatus
    text: str
    isLast: bool = False
    isChallenge: bool = False

    @property
    def body(self) -> bytes:
        return f"{self.text}\n".encode()

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        found = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", b"%d" % len(self.body)),
        ]
        if self.isChallenge:
            challenge = b'Basic realm="socksproxy", charset="UTF-8"'
            found.append((b"Proxy-Authenticate", challenge))
        if self.isLast:
            found.append((b"Connection", b"close"))
        return found

    def last(self) -> Page:
        """
        The same as the last answer.
        """
        return replace(self, isLast=True)

    def encode(self) -> bytes:
        status = f"HTTP/1.1 {int(self.status)} {self.status.phrase}\r\n".encode()
        lines = b"".join(b"%s: %s\r\n" % header for header in self.headers)
        return b"".join((status, lines, b"\r\n", self.body))


GREETING = Page(
    HTTPStatus.BAD_REQUEST,
    "This is a proxy, and not a web site: there is nothing to see at this address.\n"
    "Enter it as the proxy in the settings of a program, as HTTP or SOCKS proxy.",
    isLast=True,
)
"""
For a browser that was pointed here as if this were a web site.
"""

BAD_REQUEST = Page(
    HTTPStatus.BAD_REQUEST, "The proxy does not understand this request.", isLast=True
)

INTERNAL_ERROR = Page(
    HTTPStatus.INTERNAL_SERVER_ERROR, "The proxy has failed.", isLast=True
)

LOGIN_NEEDED = Page(
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    "The proxy demands a user name and a password.",
    isChallenge=True,
)

CANNOT_LOG_IN = Page(
    HTTPStatus.FORBIDDEN,
    "The proxy demands a login of a kind that HTTP does not have here.",
    isLast=True,
)

NOT_ANSWERED = Page(
    HTTPStatus.BAD_GATEWAY, "The target has ended the connection without an answer."
)

NOT_HERE = Page(HTTPStatus.NOT_IMPLEMENTED, "The proxy cannot do this.")

RECEIVED = Page(HTTPStatus.OK, "This is the proxy: the request may go no further.")

TIMED_OUT = Page(HTTPStatus.GATEWAY_TIMEOUT, "The target did not answer in time.")

_PAGES = {
    ReplyCode.GENERAL_FAILURE: INTERNAL_ERROR,
    ReplyCode.NOT_ALLOWED: Page(
        HTTPStatus.FORBIDDEN, "The rules of the proxy do not allow this."
    ),
    ReplyCode.NETWORK_UNREACHABLE: Page(
        HTTPStatus.BAD_GATEWAY, "There is no route to the target."
    ),
    ReplyCode.HOST_UNREACHABLE: Page(
        HTTPStatus.BAD_GATEWAY,
        "The name of the target does not resolve, or it cannot be reached.",
    ),
    ReplyCode.CONNECTION_REFUSED: Page(
        HTTPStatus.BAD_GATEWAY, "The target has refused the connection."
    ),
    ReplyCode.TTL_EXPIRED: Page(
        HTTPStatus.BAD_GATEWAY, "The target is too far away: the time to live ran out."
    ),
    ReplyCode.COMMAND_NOT_SUPPORTED: NOT_HERE,
    ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED: Page(
        HTTPStatus.BAD_GATEWAY, "There is no way to an address of this kind."
    ),
}


def badRequest(wrong: h11.RemoteProtocolError) -> Page:
    """
    What is said to something that is not HTTP.
    """
    return replace(BAD_REQUEST, status=HTTPStatus(wrong.error_status_hint))


def pageOf(code: ReplyCode, cause: BaseException | None) -> Page:
    """
    What a failure is answered with.

    @param cause: what it was.
    """
    if cause is not None and isTimeout(cause):
        return TIMED_OUT
    return _PAGES[code]
