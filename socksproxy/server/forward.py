"""
Plain HTTP by way of the proxy (RFC 9112 section 3.2.2): one request of the client's
after the other, each passed on to the target that it names.

There is one connection to a target at a time.  It stays open for further requests
to that target, and no other client's requests go over it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import h11
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.errors import RemoteProtocolError, replyCodeOf
from socksproxy.interfaces import IConversation, ITargets, Request
from socksproxy.relay.idle import IWatched
from socksproxy.relay.relay import ProtocolRelay, RelayEnd, endWriting, keepAlive
from socksproxy.server.fields import (
    FRAMING,
    forwardedRequest,
    forwardedResponse,
    forwardedTrailers,
)
from socksproxy.server.pages import (
    BAD_REQUEST,
    GREETING,
    INTERNAL_ERROR,
    MAX_HEAD,
    NOT_ANSWERED,
    Page,
    pageOf,
)
from socksproxy.server.proxylogin import ProxyLogin
from socksproxy.server.targetend import TargetEnd
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command, ReplyCode
from socksproxy.wire.uri import AbsoluteTarget, parseAuthority

__all__ = ["Forwarding"]

log = Logger()

WAITING = 1 << 16
"""
Bytes of a client that are kept while nobody can take them; then it has to wait.
"""

DROPPED = 1 << 16
"""
Bytes of a body that are read for nothing, to keep the connection.
"""

_SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))
"""
What may be sent twice: a target may close an old connection just when a request
is on its way (RFC 9110 section 9.2.2).
"""


class _Ends(Factory):
    """
    Builds the one protocol that is wanted.
    """

    noisy = False

    def __init__(self, end: TargetEnd) -> None:
        self._end = end

    def buildProtocol(self, addr: object) -> TargetEnd:
        return self._end


@implementer(IConversation, IHalfCloseableProtocol, IPushProducer, IWatched)
class Forwarding(Protocol):
    """
    The client's side.
    """

    transport: Any
    _targets: ITargets
    _finished: Callable[[], object]
    # A login or a connection that the present request waits for.
    _pending: Deferred[None] | None = None
    _target: TargetEnd | None = None
    # The present request, and what is made of it; of a CONNECT that is nothing.
    _request: h11.Request
    _passedOn: h11.Request | None = None
    _tunnel: ProtocolRelay | None = None
    _deadline: IDelayedCall | None = None
    _dropped = 0
    _ended = False
    _isAdvancing = False
    _isBusy = False
    _isClosing = False
    _isGone = False
    _isPaused = False
    _isTargetFull = False
    _isClientFull = False

    def __init__(self, login: ProxyLogin) -> None:
        self._login = login
        self._http = h11.Connection(h11.SERVER, MAX_HEAD)
        # What has come while nobody could take it.
        self._waiting = b""
        self._ends: set[TargetEnd] = set()
        self._sent = self._received = 0

    @property
    def client(self) -> Protocol:
        return self if self._tunnel is None else self._tunnel.client

    @property
    def bytesSent(self) -> int:
        """
        Bytes that went out to targets.
        """
        return self._sent + (self._target.bytesSent if self._target else 0)

    @property
    def bytesReceived(self) -> int:
        """
        Bytes that came from them.
        """
        return self._received + (self._target.bytesReceived if self._target else 0)

    def start(
        self,
        transport: Any,
        early: bytes,
        ended: bool,
        targets: ITargets,
        finished: Callable[[], object],
    ) -> None:
        self.transport = transport
        self._targets = targets
        self._finished = finished
        self._ended = ended
        self._waiting = early
        keepAlive(transport)
        transport.registerProducer(self, True)
        self._watch.started(self)
        self._giveTime(targets.requestTimeout)
        self._advance()

    def abort(self, reason: str) -> None:
        if self._tunnel is not None:
            self._tunnel.abort(reason)
            return
        self._dropTarget(reason)
        self._isClosing = True
        self.transport.unregisterProducer()
        self.transport.abortConnection()

    @property
    def _watch(self) -> Any:
        return self._targets.idleWatch

    # What the client's transport says.

    def dataReceived(self, data: bytes) -> None:
        if not self._isClosing:
            self._waiting += data
            self._advance()

    def readConnectionLost(self) -> None:
        self._ended = True
        if self._isClosing:
            self.transport.loseConnection()
        else:
            self._advance()

    def writeConnectionLost(self) -> None:
        """
        All that the client was told is out: as wanted.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._isGone = self._isClosing = True
        self._giveTime(0)
        self._watch.finished(self)
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
        self._dropTarget("the client left")
        self._over()

    # What it says as the consumer of responses.

    def pauseProducing(self) -> None:
        self._isClientFull = True
        if self._target is not None:
            self._target.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._isClientFull = False
        if self._target is not None:
            self._target.transport.resumeProducing()

    def stopProducing(self) -> None:
        """
        The client is gone, which C{connectionLost} will say.
        """

    # Requests.

    def _advance(self) -> None:
        """
        Take what has come, as far as it can be taken now.
        """
        if self._isAdvancing:
            return
        self._isAdvancing = True
        try:
            while (
                not self._isBusy
                and not self._isClosing
                and self._tunnel is None
                and self._http.their_state in (h11.IDLE, h11.SEND_BODY)
            ):
                if not self._takeNext():
                    break
        finally:
            self._isAdvancing = False
        self._balance()

    def _takeNext(self) -> bool:
        """
        @return: whether there may be more.
        """
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as wrong:
            self._wrong(wrong.error_status_hint)
            return False
        if isinstance(event, h11.Request):
            self._requestCame(event)
        elif isinstance(event, h11.Data):
            self._bodyCame(event.data)
        elif isinstance(event, h11.EndOfMessage):
            self._bodyEnded(event)
        elif isinstance(event, h11.ConnectionClosed):
            self._close()
        elif self._waiting:
            self._http.receive_data(self._waiting)
            self._waiting = b""
        elif self._ended:
            self._http.receive_data(b"")
        else:
            return False
        return True

    def _balance(self) -> None:
        """
        Read from the client as long as there is room for what it says.
        """
        if self._tunnel is not None or self._isClosing or self._ended:
            return
        isPaused = self._isTargetFull or len(self._waiting) > WAITING
        if isPaused != self._isPaused:
            self._isPaused = isPaused
            if isPaused:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def _wrong(self, status: int) -> None:
        """
        What came is not HTTP, or not all of it has come.
        """
        if self._http.our_state is h11.SEND_BODY:
            self.abort("not HTTP")
        elif self._ended or self._http.our_state is h11.DONE:
            self._close()
        else:
            page = replace(BAD_REQUEST, status=HTTPStatus(status))
            self._refuse("a request that is not one of HTTP", page)

    def _requestCame(self, request: h11.Request) -> None:
        self._giveTime(0)
        self._request = request
        self._passedOn = None
        self._dropped = 0
        self._run(self._serve(request))

    def _run(self, serving: Coroutine[Any, Any, None]) -> None:
        """
        The client has to wait for it.
        """
        self._isBusy = True
        pending = Deferred.fromCoroutine(serving)
        if not pending.called:
            self._pending = pending
        pending.addErrback(self._failed).addCallback(self._served)

    def _served(self, result: object) -> None:
        self._pending = None
        self._isBusy = False
        self._advance()

    def _failed(self, failure: Failure) -> None:
        if not self._isGone:
            log.failure("A request of HTTP failed.", failure)
            self._refuse("internal error", INTERNAL_ERROR)

    async def _serve(self, request: h11.Request) -> None:
        try:
            destination = self._understand(request)
        except RemoteProtocolError as wrong:
            isLost = request.target.startswith(b"/")
            self._refuse(str(wrong), GREETING if isLost else BAD_REQUEST)
            return
        who = self._login.identify(request)
        if isinstance(who, Deferred):
            who = await who
        if isinstance(who, Page):
            if who.isLast:
                self._refuse(f"login: {who.status.phrase}", who)
            else:
                self._answer(who)
            return
        wanted = Request(Command.CONNECT, destination, who)
        target = self._target
        if target is not None and not (target.isIdle and target.request == wanted):
            self._dropTarget("closed")
        await self._passOn(wanted)

    def _understand(self, request: h11.Request) -> Address:
        """
        Where it shall go, and in what words.

        @raise RemoteProtocolError: this is not known.
        """
        if request.method == b"CONNECT":
            if any(name in FRAMING for name, _ in request.headers):
                raise RemoteProtocolError("a CONNECT with a body")
            return parseAuthority(request.target)
        target = AbsoluteTarget.parse(request.target)
        if target is None:
            raise RemoteProtocolError("a request that names no http:// target")
        self._passedOn = forwardedRequest(request, target)
        return target.destination

    async def _passOn(self, wanted: Request) -> None:
        """
        Send the head of the request, over a new connection unless there is one.
        """
        if self._target is None:
            end = TargetEnd(wanted, self)
            try:
                connected = await self._targets.connect(wanted, _Ends(end))
            except CancelledError:
                raise
            except Exception as wrong:
                code = replyCodeOf(wrong) or ReplyCode.GENERAL_FAILURE
                self._answer(pageOf(code, wrong))
                return
            if connected is not end:
                raise TypeError(f"the connector's protocol is {connected!r}")
            self._ends.add(end)
            self._target = end
            if self._isClientFull:
                end.transport.pauseProducing()
        if self._passedOn is not None:
            self._target.begin(self._passedOn)

    def _bodyCame(self, data: bytes) -> None:
        if self._target is not None:
            self._target.sendBody(data)
            return
        self._dropped += len(data)
        if self._dropped > DROPPED:
            self._close()

    def _bodyEnded(self, end: h11.EndOfMessage) -> None:
        if self._target is not None:
            if self._passedOn is None:
                self._write(h11.Response(status_code=200, headers=[], reason=_REASON))
                self._beginTunnel()
                return
            self._target.endBody(forwardedTrailers(end.headers))
        self._exchangeOver()

    # Responses.

    def responseCame(self, response: h11.Response | h11.InformationalResponse) -> None:
        isFinal = isinstance(response, h11.Response)
        if not isFinal and self._request.http_version < b"1.1":
            return
        self._write(forwardedResponse(response))
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self._beginTunnel()

    def bodyReceived(self, data: bytes) -> None:
        if not self._isClosing:
            self._write(h11.Data(data=data))

    def responseEnded(self, trailers: Any) -> None:
        isOld = self._request.http_version < b"1.1"
        self._write(
            h11.EndOfMessage(headers=[] if isOld else forwardedTrailers(trailers))
        )
        self._exchangeOver()

    def targetFull(self, isFull: bool) -> None:
        self._isTargetFull = isFull
        self._balance()

    def targetLost(self, end: TargetEnd) -> None:
        self._ends.discard(end)
        if end is self._target and self._tunnel is None:
            self._dropTarget(end.reason)
            if not self._isBusy:
                self._answerIsMissing(end)
        self._over()

    def _answerIsMissing(self, end: TargetEnd) -> None:
        """
        The target has gone, perhaps in the middle of something.
        """
        state = self._http.our_state
        if state is h11.SEND_BODY:
            # The client must not take this for all of it.
            self.abort(end.reason)
        elif state is h11.DONE:
            self._close()
        elif state is h11.SEND_RESPONSE:
            if end.isUsed and not end.hasAnswered and self._isRepeatable():
                self._run(self._repeat(end.request))
            else:
                self._answer(NOT_ANSWERED)
                self._advance()

    def _isRepeatable(self) -> bool:
        headers = self._request.headers
        return (
            self._request.method in _SAFE
            and self._http.their_state is not h11.SEND_BODY
            and not any(name in FRAMING for name, _ in headers)
        )

    async def _repeat(self, wanted: Request) -> None:
        await self._passOn(wanted)
        if self._target is not None:
            self._target.endBody([])

    def _answer(self, page: Page) -> None:
        """
        Say something of the proxy's own.
        """
        if self._isClosing:
            return
        if self._http.they_are_waiting_for_100_continue:
            # Whether the body comes now nobody knows.
            page = page.last()
        self._write(
            h11.Response(
                status_code=page.status,
                reason=page.status.phrase.encode(),
                headers=page.headers,
            )
        )
        if self._http.their_state is h11.ERROR or self._request.method != b"HEAD":
            self._write(h11.Data(data=page.body))
        self._write(h11.EndOfMessage())
        self._exchangeOver()

    def _refuse(self, reason: str, page: Page) -> None:
        """
        The same for what is no request that could be made.
        """
        self._dropTarget("closed")
        self._targets.refused(reason)
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._answer(page)
        else:
            self.abort(reason)

    def _write(self, event: Any) -> None:
        self.transport.write(self._http.send(event))

    def _exchangeOver(self) -> None:
        """
        One side has said all that it had to say; perhaps both have.
        """
        http = self._http
        if http.our_state in (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR):
            self._close()
        elif h11.DONE is http.our_state is http.their_state:
            http.start_next_cycle()
            if self._target is not None and not self._target.next():
                self._dropTarget("closed")
            self._giveTime(self._targets.requestTimeout)
            self._advance()

    # What is not HTTP any more.

    def _beginTunnel(self) -> None:
        """
        The target and the client speak something else from now on.
        """
        assert self._target is not None
        self._watch.finished(self)
        self.transport.unregisterProducer()
        client = RelayEnd()
        client.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        early = self._http.trailing_data[0] + self._waiting
        self._waiting = b""
        if early:
            client.dataReceived(early)
        if self._ended:
            client.readConnectionLost()
        target = self._target.intoTunnel()
        self._tunnel = ProtocolRelay(client, target, self._watch, self._tunnelFinished)
        self._tunnel.start()

    def _tunnelFinished(self, reason: str) -> None:
        assert self._target is not None and self._tunnel is not None
        self._target.bytesSent += self._tunnel.bytesSent
        self._targets.finished(self._target, reason)
        self._ends.clear()
        self._isGone = True
        self._over()

    # The end.

    def _close(self) -> None:
        """
        What was said goes out, then the end.  A close with bytes of the client
        unread would be a reset: what still comes is dropped.
        """
        self._isClosing = True
        self._dropTarget("closed")
        self._waiting = b""
        transport = self.transport
        transport.unregisterProducer()
        if self._ended:
            transport.loseConnection()
        else:
            endWriting(transport)
            transport.resumeProducing()
            self._giveTime(self._targets.closeTimeout)

    def _dropTarget(self, reason: str) -> None:
        """
        There is no more use for the connection.
        """
        target, self._target = self._target, None
        if target is not None:
            self._isTargetFull = False
            self._sent += target.bytesSent
            self._received += target.bytesReceived
            target.close()
            self._targets.finished(target, reason)

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
        if self._isClosing:
            self.transport.abortConnection()
        else:
            self._close()

    def _over(self) -> None:
        """
        Unless something is left of it.
        """
        if self._isGone and not self._ends:
            self._login.abandon()
            finished, self._finished = self._finished, _nothing
            finished()


def _nothing() -> None:
    """
    Who has been told is not told again.
    """


_REASON = b"Connection established"
