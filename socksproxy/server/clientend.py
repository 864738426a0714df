"""
The connection of a client of plain HTTP: requests come in over it one after the
other, and responses go out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h11
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.interfaces import ITargets
from socksproxy.relay.idle import IWatched
from socksproxy.relay.relay import RelayEnd, endWriting, keepAlive
from socksproxy.server.pages import MAX_HEAD, Page, badRequest

if TYPE_CHECKING:
    from socksproxy.server.forward import Forwarding

__all__ = ["ClientEnd"]

WAITING = 1 << 16
"""
Bytes of a client that are kept while nobody can take them; then it has to wait.
"""


@implementer(IHalfCloseableProtocol, IPushProducer, IWatched)
class ClientEnd(Protocol):
    """
    One such connection.

    @ivar isFull: whether to send nothing more for now.
    @ivar isClosing: whether nothing more can be said.
    """

    transport: Any
    # The present one; what is said of none is not said of the last.
    _request: h11.Request | None = None
    isFull = False
    isClosing = False
    # It is watched when there is nothing more to count.
    bytesSent = bytesReceived = 0

    _targets: ITargets
    _deadline: IDelayedCall | None = None
    _ended = False
    # Whether a target has said anything.
    _isServed = False
    _isAdvancing = False
    _isBusy = False
    _isPaused = False
    _isTargetFull = False

    def __init__(self, requests: Forwarding) -> None:
        self._requests = requests
        self._http = h11.Connection(h11.SERVER, MAX_HEAD)
        # What has come while nobody could take it.
        self._waiting = b""

    def start(
        self, transport: Any, early: bytes, ended: bool, targets: ITargets
    ) -> None:
        """
        As in L{IConversation.start <socksproxy.interfaces.IConversation.start>}.
        """
        self.transport = transport
        self._targets = targets
        self._waiting = early
        self._ended = ended
        keepAlive(transport)
        transport.registerProducer(self, True)
        self._giveTime(targets.requestTimeout)
        self._advance()

    @property
    def isIdle(self) -> bool:
        """
        Whether there is no request under way.
        """
        return self._http.our_state is h11.IDLE

    @property
    def isAwaited(self) -> bool:
        """
        Whether the client is told nothing yet of the response that it waits for.
        """
        return self._http.our_state is h11.SEND_RESPONSE

    @property
    def isBeingTold(self) -> bool:
        """
        Whether it is told a part of one.
        """
        return self._http.our_state is h11.SEND_BODY

    @property
    def isAsking(self) -> bool:
        """
        Whether a part of the present request is still to come.
        """
        return self._http.their_state is h11.SEND_BODY

    # What is said to the client.

    def holdRequest(self) -> None:
        """
        Take nothing more of the present request until L{resumeRequest}.
        """
        self._isBusy = True

    def resumeRequest(self) -> None:
        self._isBusy = False
        self._advance()

    def send(self, event: Any) -> None:
        """
        A part of a target's response.
        """
        self._isServed = True
        self._say(event)

    def answer(self, page: Page) -> None:
        """
        Say something of the proxy's own.
        """
        if self.isClosing:
            return
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.abort()
            return
        if self._http.they_are_waiting_for_100_continue:
            # Whether the body comes now nobody knows.
            page = page.last()
        self._say(
            h11.Response(
                status_code=page.status,
                reason=page.status.phrase.encode(),
                headers=page.headers,
            )
        )
        if self._request is None or self._request.method != b"HEAD":
            self._say(h11.Data(data=page.body))
        self._say(h11.EndOfMessage())

    def _say(self, event: Any) -> None:
        if self.isClosing:
            return
        self.transport.write(self._http.send(event))
        if isinstance(event, h11.EndOfMessage):
            self._cycle()

    def targetFull(self, isFull: bool) -> None:
        """
        Whether what the client says can be sent on.
        """
        self._isTargetFull = isFull
        self._balance()

    def intoTunnel(self) -> RelayEnd:
        """
        As in L{TargetEnd <socksproxy.server.targetend.TargetEnd>}.
        """
        self.isClosing = True
        self.transport.unregisterProducer()
        tunnel = RelayEnd()
        tunnel.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        early = self._http.trailing_data[0] + self._waiting
        self._waiting = b""
        if early:
            tunnel.dataReceived(early)
        if self._ended:
            tunnel.readConnectionLost()
        return tunnel

    def close(self) -> None:
        """
        What was said goes out, then the end.  A close with bytes of the client
        unread would be a reset: what still comes is dropped.
        """
        if self.isClosing:
            return
        self.isClosing = True
        self._waiting = b""
        self.transport.unregisterProducer()
        self._targets.idleWatch.halfClosed(self)
        if self._ended:
            self.transport.loseConnection()
        else:
            endWriting(self.transport)
            self.transport.resumeProducing()
            self._giveTime(self._targets.closeTimeout)

    def abort(self, reason: str = "") -> None:
        """
        The end, at once.
        """
        if not self.isClosing:
            self.isClosing = True
            self._waiting = b""
            self.transport.unregisterProducer()
        self.transport.abortConnection()

    # What the client's transport says.

    def dataReceived(self, data: bytes) -> None:
        if not self.isClosing:
            self._waiting += data
            self._advance()

    def readConnectionLost(self) -> None:
        self._ended = True
        if self.isClosing:
            self.transport.loseConnection()
        else:
            self._advance()

    def writeConnectionLost(self) -> None:
        """
        All that the client was told is out: as wanted.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.isClosing = True
        self._giveTime(0)
        self._targets.idleWatch.finished(self)
        self._requests.clientLost()

    # What it says as the consumer of responses.

    def pauseProducing(self) -> None:
        self.isFull = True
        self._requests.clientFull(True)

    def resumeProducing(self) -> None:
        self.isFull = False
        self._requests.clientFull(False)
        self._advance()

    def stopProducing(self) -> None:
        """
        The client is gone, which C{connectionLost} will say.
        """

    # What the client says.

    def _advance(self) -> None:
        """
        Take what has come, as far as it can be taken now.
        """
        # What is taken can lead to more of it.
        if self._isAdvancing:
            return
        self._isAdvancing = True
        while self._takesMore() and self._takeNext():
            pass
        self._isAdvancing = False
        self._balance()

    def _takesMore(self) -> bool:
        if self._isBusy or self.isClosing:
            return False
        # Answers to a client that does not read would pile up.
        isTaken = self._http.their_state is h11.IDLE and not self.isFull
        return isTaken or self._http.their_state is h11.SEND_BODY

    def _takeNext(self) -> bool:
        """
        @return: whether there may be more.
        """
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as wrong:
            self._wrong(badRequest(wrong))
            return False
        if isinstance(event, h11.Request):
            self._giveTime(0)
            self._request = event
            self._requests.requestCame(event)
        elif isinstance(event, h11.Data):
            self._giveTimeForTheRest()
            self._requests.bodyCame(event.data)
        elif isinstance(event, h11.EndOfMessage):
            self._requests.bodyEnded(event.headers)
            self._cycle()
        elif isinstance(event, h11.ConnectionClosed):
            self._requests.close()
        elif self._waiting:
            self._http.receive_data(self._waiting)
            self._waiting = b""
        elif self._ended:
            self._http.receive_data(b"")
        else:
            return False
        return True

    def _cycle(self) -> None:
        """
        One side has said all that it had to say; perhaps both have.
        """
        http = self._http
        if http.our_state in (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR):
            self._requests.close()
        elif h11.DONE is http.our_state is http.their_state:
            http.start_next_cycle()
            self._request = None
            self._giveTime(self._targets.requestTimeout)
            self._requests.exchangeOver()
            self._advance()
        else:
            self._giveTimeForTheRest()

    def _giveTimeForTheRest(self) -> None:
        """
        Of a request that has its response already.
        """
        if self._http.our_state is h11.DONE:
            self._giveTime(self._targets.requestTimeout)

    def _wrong(self, page: Page) -> None:
        """
        What came is not HTTP, or not all of it has come.
        """
        if self._ended or self._http.our_state is h11.DONE:
            self._requests.close()
        else:
            self._requests.refuse("a request that is not one of HTTP", page)

    def _balance(self) -> None:
        """
        Read from the client as long as there is room for what it says.
        """
        if self.isClosing or self._ended:
            return
        isPaused = self._isTargetFull or len(self._waiting) > WAITING
        if isPaused != self._isPaused:
            self._isPaused = isPaused
            if isPaused:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def _giveTime(self, seconds: float) -> None:
        """
        @param seconds: 0: as many as it likes.
        """
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds:
            self._deadline = self._targets.clock.callLater(seconds, self._expired)

    def _expired(self) -> None:
        self._deadline = None
        if not self.isClosing:
            self._requests.close()
        elif self._isServed:
            # What it was told it still gets: it may read slowly.
            self.transport.loseConnection()
        else:
            self.transport.abortConnection()
