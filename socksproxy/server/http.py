"""
The dialect of HTTP (RFC 9110 section 9.3.6): CONNECT, up to its answer.  All else
is handed over, see L{socksproxy.server.forward}.

What else HTTP takes is loaded when it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from socksproxy.errors import RemoteProtocolError
from socksproxy.interfaces import (
    Continue,
    Denied,
    DialectStep,
    Handover,
    IAuthenticator,
    Identity,
    IDialect,
    ISession,
    Request,
)
from socksproxy.server.pages import BAD_REQUEST, MAX_HEAD, Page, badRequest, pageOf
from socksproxy.server.proxylogin import ProxyLogin
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command, ReplyCode

if TYPE_CHECKING:
    import h11

__all__ = ["HTTPDialect"]

_CONNECT = b"CONNECT "

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@implementer(IDialect)
class HTTPDialect:
    """
    One conversation: CONNECT, perhaps several times until a login is right.
    """

    def __init__(
        self, session: ISession, authenticators: Sequence[IAuthenticator]
    ) -> None:
        self._login = ProxyLogin(session, authenticators)
        self._http: h11.Connection | None = None

    def advance(
        self, received: ReceiveBuffer
    ) -> DialectStep | Deferred[DialectStep] | None:
        import h11

        if self._http is None:
            method = received.peek(min(len(received), len(_CONNECT)))
            if not method or (method != _CONNECT and _CONNECT.startswith(method)):
                return None
            if method != _CONNECT:
                return self._handOver()
            self._http = h11.Connection(h11.SERVER, MAX_HEAD)
        try:
            self._http.receive_data(received.takeAll())
            request = self._http.next_event()
        except h11.RemoteProtocolError as wrong:
            # Its text quotes what came.
            return _denied("a request that is not one of HTTP", badRequest(wrong))
        if not isinstance(request, h11.Request):
            return None
        # What follows is the target's, if there will be one.
        received.feed(self._http.trailing_data[0])
        self._http = None
        return self._connect(request, len(received) > 0)

    def answer(
        self, code: ReplyCode, bound: Address, cause: BaseException | None = None
    ) -> bytes:
        if code == ReplyCode.SUCCEEDED:
            return _ESTABLISHED
        return pageOf(code, cause).last().encode()

    def abandon(self) -> None:
        self._login.abandon()

    def _handOver(self) -> Handover:
        from socksproxy.server.forward import Forwarding

        return Handover(Forwarding(self._login))

    def _connect(
        self, request: h11.Request, goesOn: bool
    ) -> DialectStep | Deferred[DialectStep]:
        """
        @param goesOn: whether more has come already.
        """
        from socksproxy.server.fields import connectDestination

        try:
            destination = connectDestination(request)
        except RemoteProtocolError as wrong:
            return _denied(str(wrong), BAD_REQUEST)
        who = self._login.identify(request)
        if isinstance(who, Deferred):
            return who.addCallback(_decided, destination, goesOn)
        return _decided(who, destination, goesOn)


def _decided(who: Identity | Page, destination: Address, goesOn: bool) -> DialectStep:
    if isinstance(who, Identity):
        return Request(Command.CONNECT, destination, who)
    # What a client has sent for its target must not be read as a request.
    if who.isLast or goesOn:
        return _denied(f"login: {who.status.phrase}", who.last())
    return Continue(who.encode())


def _denied(reason: str, page: Page) -> Denied:
    return Denied(reason, page.last().encode())
