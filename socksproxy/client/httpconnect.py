"""
The conversation of HTTP's CONNECT (RFC 9110 section 9.3.6), as clients have it.
"""

from __future__ import annotations

from collections.abc import Sequence

import h11
from zope.interface import implementer

from socksproxy.client.errors import LoginRefused, ProxyProtocolError
from socksproxy.client.interfaces import ConversationStep, IConversation, Replied
from socksproxy.client.login import PasswordLogin
from socksproxy.errors import (
    CommandNotSupported,
    GeneralFailure,
    HostUnreachable,
    NotAllowed,
    RequestFailed,
    TimedOut,
)
from socksproxy.interfaces import Continue
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import AddressType

__all__ = ["HTTPConnectConversation", "Headers"]

Headers = Sequence[tuple[bytes, bytes]]

_BY_STATUS: dict[int, type[RequestFailed]] = {
    401: LoginRefused,  # tinyproxy's
    403: NotAllowed,
    405: CommandNotSupported,
    407: LoginRefused,
    501: CommandNotSupported,
    502: HostUnreachable,
    503: HostUnreachable,
    504: TimedOut,
}
"""
What proxies mean by them.  They have no words for the rest.
"""


_START = b"HTTP/"


@implementer(IConversation)
class HTTPConnectConversation:
    """
    A CONNECT and the head of its answer.
    """

    isRequested = False
    _isHTTP = False

    def __init__(
        self,
        destination: Address,
        login: PasswordLogin | None = None,
        headers: Headers = (),
    ) -> None:
        """
        @param headers: more of them, for the proxy.
        @raise ValueError: C{destination}, C{login} or C{headers} cannot be said in
            HTTP.
        """
        if login is not None and b":" in login.username:
            raise ValueError("HTTP has no user names with a colon")
        authority = _authority(destination)
        sent = [(b"Host", authority), *headers]
        if login is not None:
            sent.append((b"Proxy-Authorization", login.basic()))
        self._http = h11.Connection(h11.CLIENT)
        try:
            request = h11.Request(method=b"CONNECT", target=authority, headers=sent)
        except h11.LocalProtocolError:
            # Its text, and what it was raised from, may hold the login.
            request = None
        if request is None:
            raise ValueError("an address or a header that HTTP cannot carry")
        self._request = self._http.send(request) or b""

    def advance(self, received: ReceiveBuffer) -> ConversationStep | None:
        if not self.isRequested:
            self.isRequested = True
            return Continue(self._request)
        if not self._isHTTP:
            start = received.peek(len(_START))
            if start is None:
                return None
            if start != _START:
                # What speaks first for some other reason may never say more.
                raise _notHTTP()
            self._isHTTP = True
        if not received:
            return None
        try:
            self._http.receive_data(received.takeAll())
            event = self._http.next_event()
            while isinstance(event, h11.InformationalResponse):
                event = self._http.next_event()
        except h11.RemoteProtocolError:
            raise _notHTTP() from None
        if not isinstance(event, h11.Response):
            return None
        status = event.status_code
        if status >= 300:
            kind = _BY_STATUS.get(status, GeneralFailure)
            raise kind(f"the proxy answered: status {status}")
        received.feed(self._http.trailing_data[0])
        return Replied()

    def abandon(self) -> None:
        pass


def _notHTTP() -> ProxyProtocolError:
    return ProxyProtocolError("what the proxy answered is not HTTP")


def _authority(destination: Address) -> bytes:
    """
    @raise ValueError: it is a name that does not fit.
    """
    host = destination.host
    if destination.type == AddressType.IPV6:
        host = f"[{host}]"
    elif not (host.isascii() and host.isprintable()) or set(host) & set(" :/?#@[]\\"):
        raise ValueError("a name that HTTP cannot carry")
    return f"{host}:{destination.port}".encode("ascii")
