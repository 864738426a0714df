"""
A connection to a target of plain HTTP: requests go out over it one after the
other, and responses come in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h11
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.interfaces import ITargets, Request
from socksproxy.relay.idle import IWatched
from socksproxy.relay.relay import RelayEnd, isReset, keepAlive
from socksproxy.server.pages import MAX_HEAD

if TYPE_CHECKING:
    from socksproxy.server.forward import Forwarding

__all__ = ["TargetEnd"]


@implementer(IHalfCloseableProtocol, IPushProducer, IWatched)
class TargetEnd(Protocol):
    """
    One such connection.

    @ivar request: what it was opened for.
    @ivar isUsed: whether it has had a request before the present one.
    @ivar hasAnswered: whether anything of the present response has come.
    @ivar isLost: whether it is gone.
    @ivar isSilent: whether it was ended because nothing came or went any more.
    @ivar bytesSent: bytes that went out over it.
    @ivar bytesReceived: bytes that came in.
    @ivar reason: why it came to its end, in words for the log.
    """

    transport: Any
    bytesSent = 0
    bytesReceived = 0
    isUsed = False
    hasAnswered = False
    isLost = False
    isSilent = False
    reason = "closed"

    _tunnel: RelayEnd | None = None
    _isOver = False
    _deadline: IDelayedCall | None = None

    def __init__(
        self,
        request: Request,
        responses: Forwarding,
        targets: ITargets,
        isTunnel: bool,
    ) -> None:
        """
        @param isTunnel: whether it is no HTTP from the beginning.
        """
        self.request = request
        self._isTunnel = isTunnel
        self._responses = responses
        self._targets = targets
        self._http = h11.Connection(h11.CLIENT, MAX_HEAD)

    @property
    def isIdle(self) -> bool:
        """
        Whether it can take a request.
        """
        return self._http.our_state is h11.IDLE and not self._isOver

    # What the client's side says.

    def begin(self, request: h11.Request) -> None:
        """
        Send the head of a request.
        """
        self.hasAnswered = False
        self._send(request)

    def sendBody(self, data: bytes) -> None:
        self._send(h11.Data(data=data))

    def endBody(self, trailers: Any) -> None:
        self._send(h11.EndOfMessage(headers=trailers))

    def next(self) -> bool:
        """
        The exchange is over.

        @return: whether there can be another.
        """
        if self._isOver or h11.DONE is not self._http.our_state:
            return False
        # More than was asked for would be taken for the next response.
        if self._http.their_state is not h11.DONE or self._http.trailing_data[0]:
            return False
        self._http.start_next_cycle()
        self.isUsed = True
        return True

    def intoTunnel(self) -> RelayEnd:
        """
        From now on this is no HTTP any more.

        @return: the end of a relay, which has what has come already.
        """
        if self._tunnel is not None:
            return self._tunnel
        self._targets.idleWatch.finished(self)
        self.transport.unregisterProducer()
        self._tunnel = tunnel = RelayEnd()
        tunnel.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        early = self._http.trailing_data[0]
        if early:
            tunnel.dataReceived(early)
        return tunnel

    def close(self) -> None:
        """
        There is no more use for it.  What it was sent still goes out, if it is all
        of a request and the target takes it in time.
        """
        if not self._isOver:
            isSafe = self.isIdle or self._http.our_state in _SENT
            self._isOver = True
            self.transport.unregisterProducer()
            if not isSafe:
                self.transport.abortConnection()
                return
            seconds = self._targets.closeTimeout
            if seconds:
                self._deadline = self._targets.clock.callLater(seconds, self._expired)
            self.transport.loseConnection()

    def abort(self, reason: str) -> None:
        """
        Nothing moves any more, or nothing may: it is ended, whatever it is at.  That
        it is gone is told when it is.
        """
        if self._tunnel is None:
            self.isSilent = True
            self._giveUp(reason)
            # It may be closing already.
            self.transport.abortConnection()

    def _expired(self) -> None:
        self._deadline = None
        self.transport.abortConnection()

    def _giveUp(self, reason: str) -> None:
        """
        Nothing that it says makes sense any more.
        """
        if not self._isOver:
            self._isOver = True
            self.reason = reason
            self.transport.unregisterProducer()
            self.transport.abortConnection()

    def _send(self, event: Any) -> None:
        """
        Nobody wants the rest of a request once its response is over.
        """
        if self._isOver or self._http.our_state in _SENT:
            return
        data = self._http.send(event)
        if data:
            self.bytesSent += len(data)
            self.transport.write(data)

    # What the transport says.

    def connectionMade(self) -> None:
        keepAlive(self.transport)
        self.transport.registerProducer(self, True)
        self._targets.idleWatch.started(self)
        if self._isTunnel:
            self.intoTunnel()

    def dataReceived(self, data: bytes) -> None:
        self.bytesReceived += len(data)
        if self._tunnel is not None:
            self._tunnel.dataReceived(data)
        elif not self._isOver:
            self._http.receive_data(data)
            self._deliver()

    def readConnectionLost(self) -> None:
        if self._tunnel is not None:
            self._tunnel.readConnectionLost()
        elif not self._isOver:
            if isReset(self.transport):
                self._giveUp("reset by the target")
            else:
                self._end()
                self._giveUp("closed")

    def writeConnectionLost(self) -> None:
        if self._tunnel is not None:
            self._tunnel.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._tunnel is not None:
            self._tunnel.connectionLost(reason)
            return
        if not self._isOver and reason.check(ConnectionDone):
            # TLS tells of no other end.
            self._end()
        elif not self._isOver:
            self.reason = "reset by the target"
        self._isOver = self.isLost = True
        self._targets.idleWatch.finished(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._responses.targetLost(self)

    def _end(self) -> None:
        """
        Nothing more comes: a response may be complete by that.
        """
        self._http.receive_data(b"")
        self._deliver()

    def _deliver(self) -> None:
        """
        Hand on what has come, as far as it makes sense.
        """
        while self._tunnel is None and not self._isOver:
            if self.isIdle:
                if self._http.trailing_data[0]:
                    self._giveUp(_UNASKED)
                return
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                hasEnded = self._http.trailing_data[1]
                self._giveUp("closed" if hasEnded else "not HTTP")
                return
            if isinstance(event, h11.Data):
                self._responses.bodyReceived(event.data)
            elif isinstance(event, (h11.Response, h11.InformationalResponse)):
                self.hasAnswered = True
                self._responses.responseCame(event)
            elif isinstance(event, h11.EndOfMessage):
                self._responses.responseEnded(event.headers)
            else:
                if event is h11.PAUSED:
                    self._giveUp(_UNASKED)
                return

    # What it says as the consumer of requests.

    def pauseProducing(self) -> None:
        self._responses.targetFull(True)

    def resumeProducing(self) -> None:
        self._responses.targetFull(False)

    def stopProducing(self) -> None:
        """
        The connection is lost, which C{connectionLost} will say.
        """


_UNASKED = "an answer that nobody has asked for"

_SENT = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR)
