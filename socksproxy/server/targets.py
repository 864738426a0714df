"""
The way to targets for a conversation of more than one request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.errors import GeneralFailure, NotAllowed, TimedOut, replyCodeOf
from socksproxy.interfaces import ITargets, Request
from socksproxy.relay.idle import IdleWatch, IWatched

if TYPE_CHECKING:
    from socksproxy.server.factory import SOCKS5Factory
    from socksproxy.server.session import Session

__all__ = ["Targets"]

log = Logger()


@implementer(ITargets)
class Targets:
    """
    What one session's conversation connects to.  To rules, limits and the log each
    connection is a CONNECT of the session's.
    """

    def __init__(self, factory: SOCKS5Factory, session: Session) -> None:
        self._factory = factory
        self._session = session
        self.clock: IReactorTime = factory.clock
        self.idleWatch: IdleWatch = factory.idleWatch
        self.requestTimeout = factory.limits.handshakeTimeout
        self.closeTimeout = factory.limits.closeTimeout

    def connect(
        self, request: Request, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        self._session.request = request
        connecting = Deferred.fromCoroutine(self._connect(request, protocolFactory))
        seconds = self._factory.limits.connectTimeout
        if seconds:
            connecting.addTimeout(seconds, self.clock, _timedOut)
        return connecting.addCallbacks(self._connected, self._failed)

    def finished(self, counts: IWatched, reason: str) -> None:
        self._factory.sessionFinished(self._session, counts, reason)

    def refused(self, reason: str) -> None:
        self._session.request = None
        self._factory.sessionRefused(self._session, reason, None)

    async def _connect(
        self, request: Request, protocolFactory: IProtocolFactory
    ) -> IProtocol:
        factory, session = self._factory, self._session
        if request.destination.port == 0:
            raise NotAllowed("nothing listens on port 0")
        permitted = factory.policy.permitsRequest(request, session)
        if not isinstance(permitted, bool):
            permitted = await permitted
        if not permitted:
            raise NotAllowed("a rule refuses the request")
        return await factory.connector.connect(request, session, protocolFactory)

    def _connected(self, target: IProtocol) -> IProtocol:
        transport: Any = target.transport  # type: ignore[attr-defined]
        self._session.isConnected = True
        self._factory.sessionConnected(self._session, transport.getPeer())
        return target

    def _failed(self, failure: Failure) -> Failure:
        if failure.check(CancelledError, ConnectingCancelledError):
            return failure
        exception = failure.value
        assert exception is not None
        code, reason = self._factory.causeOf(exception)
        if replyCodeOf(exception) is None:
            log.failure(
                "{request.destination} of {client} failed.",
                failure,
                request=self._session.request,
                client=self._session.peer,
            )
            failure = Failure(GeneralFailure(reason))
        self._factory.sessionRefused(self._session, reason, code)
        return failure


def _timedOut(outcome: object, seconds: float) -> Failure:
    """
    What is known by then counts.
    """
    if isinstance(outcome, Failure) and not outcome.check(
        CancelledError, ConnectingCancelledError
    ):
        return outcome
    return Failure(TimedOut("nobody answered in time"))
