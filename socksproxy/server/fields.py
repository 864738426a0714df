"""
What a proxy passes on of a message's head, and what it does not (RFC 9110
section 7.6).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import h11

from socksproxy.errors import RemoteProtocolError
from socksproxy.wire.address import Address
from socksproxy.wire.uri import AbsoluteTarget, parseAuthority

__all__ = [
    "FRAMING",
    "connectDestination",
    "forwardedRequest",
    "forwardedResponse",
    "forwardedTrailers",
    "isForProxy",
]

Fields = list[tuple[bytes, bytes]]
Message = h11.Request | h11.Response | h11.InformationalResponse

VIA = b"socksproxy"
"""
The pseudonym in C{Via}: it tells nobody where this proxy is.
"""

FRAMING = frozenset((b"content-length", b"transfer-encoding"))
"""
The fields that say how long a body is, and that there is one.
"""

_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)

_NEVER_NAMED = frozenset((b"content-length", b"host", b"expect"))
"""
What C{Connection} may not take away: without these it would be another message.
"""

_COUNTED = frozenset((b"OPTIONS", b"TRACE"))
"""
The methods whose way C{Max-Forwards} limits.
"""

_NOT_IN_TRAILERS = _HOP_BY_HOP | {b"content-length", b"host", b"trailer"}


def _tokens(message: Message, name: bytes) -> set[bytes]:
    """
    The members of a list of names.
    """
    values = [value for key, value in message.headers if key == name]
    return {token.strip().lower() for value in values for token in value.split(b",")}


def _endToEnd(message: Message) -> Fields:
    """
    What is meant for more than this connection, as it was written.
    """
    dropped = _HOP_BY_HOP | (_tokens(message, b"connection") - _NEVER_NAMED)
    return [
        (name, value)
        for name, value in message.headers.raw_items()
        if name.lower() not in dropped
    ]


def isForProxy(request: h11.Request) -> bool:
    """
    Whether it may go no further (RFC 9110 section 7.6.2).
    """
    limits = [value for name, value in request.headers if name == b"max-forwards"]
    return request.method in _COUNTED and any(
        limit and not limit.strip(b"0") for limit in limits
    )


def _countedDown(fields: Fields) -> Fields:
    """
    With a proxy less that they may pass.
    """
    counted = []
    for name, value in fields:
        if name.lower() == b"max-forwards" and value.isdigit() and len(value) < 10:
            value = b"%d" % (int(value) - 1)
        counted.append((name, value))
    return counted


def _via(fields: Fields, version: bytes) -> Fields:
    return [*fields, (b"Via", version + b" " + VIA)]


def _checkVersion(request: h11.Request) -> None:
    if request.http_version > b"1.1":
        raise RemoteProtocolError("a request of a version that is not known")


def connectDestination(request: h11.Request) -> Address:
    """
    Where a CONNECT leads to.

    @raise RemoteProtocolError: it is not as it should be.
    """
    _checkVersion(request)
    if any(name in FRAMING for name, _ in request.headers):
        raise RemoteProtocolError("a CONNECT with a body")
    return parseAuthority(request.target)


def _closesAfter(request: h11.Request) -> bool:
    """
    Whether the client wants nothing more after this.
    """
    closes = b"close" in _tokens(request, b"connection")
    return closes or request.http_version < b"1.1"


def forwardedRequest(request: h11.Request, target: AbsoluteTarget) -> h11.Request:
    """
    What the target is asked.

    @raise RemoteProtocolError: there are two opinions on where its body ends: one
        of them would be the target's; or it is not HTTP/1.
    """
    _checkVersion(request)
    names = {name for name, _ in request.headers}
    isChunked = b"transfer-encoding" in names
    if isChunked and (b"content-length" in names or request.http_version < b"1.1"):
        raise RemoteProtocolError("a request whose length is in doubt")
    fields = [(b"Host", target.authority)]
    fields += [f for f in _endToEnd(request) if f[0].lower() != b"host"]
    if request.method in _COUNTED:
        fields = _countedDown(fields)
    connection = []
    if isChunked:
        fields.append((b"Transfer-Encoding", b"chunked"))
    isOld = request.http_version < b"1.1"
    if b"upgrade" in _tokens(request, b"connection") and not isOld:
        protocols = [value for name, value in request.headers if name == b"upgrade"]
        fields += [(b"Upgrade", value) for value in protocols]
        connection += [b"Upgrade"] if protocols else []
    if _closesAfter(request):
        connection.append(b"close")
    if connection:
        fields.append((b"Connection", b", ".join(connection)))
    path = target.path or (b"*" if request.method == b"OPTIONS" else b"/")
    return h11.Request(
        method=request.method,
        target=path,
        headers=_via(fields, request.http_version),
    )


_Response = TypeVar("_Response", bound=h11.Response | h11.InformationalResponse)


def forwardedResponse(response: _Response, isLast: bool) -> _Response:
    """
    What the client is told.

    @param isLast: whether its connection ends with it.
    """
    fields = _endToEnd(response)
    names = {name for name, _ in response.headers}
    isEmpty = response.status_code < 200 or response.status_code == 204
    if isEmpty or b"transfer-encoding" in names:
        # It has no body, or it says otherwise how long that is (RFC 9112 section
        # 6.3).
        fields = [field for field in fields if field[0].lower() != b"content-length"]
    if response.status_code == 101:
        protocols = [value for name, value in response.headers if name == b"upgrade"]
        fields += [(b"Upgrade", value) for value in protocols]
        fields.append((b"Connection", b"Upgrade"))
    elif isLast:
        fields.append((b"Connection", b"close"))
    return type(response)(
        status_code=response.status_code,
        reason=response.reason,
        headers=_via(fields, response.http_version),
    )


def forwardedTrailers(trailers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """
    What comes after a chunked body.
    """
    return [(name, value) for name, value in trailers if name not in _NOT_IN_TRAILERS]
