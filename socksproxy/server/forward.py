"""
Plain HTTP by way of the proxy (RFC 9112 section 3.2.2): one request of the client's
after the other, each passed on to the target that it names.

There is one connection to a target at a time.  It stays open for further requests
to that target, and no other client's requests go over it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

import h11
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.errors import RemoteProtocolError, replyCodeOf
from socksproxy.interfaces import IConversation, ITargets, Request
from socksproxy.relay.relay import ProtocolRelay
from socksproxy.server.clientend import ClientEnd
from socksproxy.server.fields import (
    FRAMING,
    connectDestination,
    forwardedRequest,
    forwardedResponse,
    forwardedTrailers,
    isForProxy,
)
from socksproxy.server.pages import (
    BAD_REQUEST,
    GREETING,
    INTERNAL_ERROR,
    NOT_ANSWERED,
    NOT_HERE,
    RECEIVED,
    TIMED_OUT,
    Page,
    pageOf,
)
from socksproxy.server.proxylogin import ProxyLogin
from socksproxy.server.targetend import TargetEnd
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command, ReplyCode
from socksproxy.wire.uri import AbsoluteTarget

__all__ = ["Forwarding"]

log = Logger()

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


@implementer(IConversation)
class Forwarding:
    """
    What happens between a client and its targets.
    """

    _targets: ITargets
    _finished: Callable[[], object]
    # A login or a connection that the present request waits for.
    _pending: Deferred[None] | None = None
    _target: TargetEnd | None = None
    # The present request, and what is made of it; of a CONNECT that is nothing.
    _request: h11.Request
    _passedOn: h11.Request | None = None
    # Whether the target has it.
    _isUnderWay = False
    _tunnel: ProtocolRelay | None = None
    _dropped = 0
    _isLast = False
    _isGone = False

    def __init__(self, login: ProxyLogin) -> None:
        self._login = login
        self._client = ClientEnd(self)
        # Those that are closing, too.
        self._ends: set[TargetEnd] = set()

    @property
    def client(self) -> Protocol:
        return self._client if self._tunnel is None else self._tunnel.client

    def start(
        self,
        transport: Any,
        early: bytes,
        ended: bool,
        targets: ITargets,
        finished: Callable[[], object],
    ) -> None:
        self._targets = targets
        self._finished = finished
        self._client.start(transport, early, ended, targets)

    def drain(self) -> None:
        self._isLast = True
        if self._client.isIdle:
            self.close()

    def abort(self, reason: str) -> None:
        for end in list(self._ends):
            end.abort(reason)
        if self._tunnel is not None:
            self._tunnel.abort(reason)
        else:
            self._dropTarget(reason)
            self._client.abort()

    # What the client says.

    def requestCame(self, request: h11.Request) -> None:
        self._request = request
        self._passedOn = None
        self._isUnderWay = False
        self._dropped = 0
        self._run(self._serve(request))

    def bodyCame(self, data: bytes) -> None:
        if self._target is not None and self._isUnderWay:
            self._target.sendBody(data)
            return
        self._dropped += len(data)
        if self._dropped > DROPPED:
            self.close()

    def bodyEnded(self, trailers: Any) -> None:
        if self._target is None or not self._isUnderWay:
            return
        if self._passedOn is None:
            established = b"Connection established"
            self._client.send(
                h11.Response(status_code=200, headers=[], reason=established)
            )
            self._beginTunnel(self._target)
        else:
            self._target.endBody(forwardedTrailers(trailers))

    def clientFull(self, isFull: bool) -> None:
        """
        Whether to take nothing more from the target for now.
        """
        if self._target is not None and isFull:
            self._target.transport.pauseProducing()
        elif self._target is not None:
            self._target.transport.resumeProducing()

    def exchangeOver(self) -> None:
        """
        The request and its response are complete, and another may follow.
        """
        if self._target is not None and not self._target.next():
            self._dropTarget("closed")
        if self._isLast:
            self.close()

    def clientLost(self) -> None:
        self._isGone = True
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
        self._dropTarget("the client left")
        self._over()

    # Requests.

    def _run(self, serving: Coroutine[Any, Any, None]) -> None:
        """
        The client has to wait for it.
        """
        self._client.holdRequest()
        pending = Deferred.fromCoroutine(serving)
        if not pending.called:
            self._pending = pending
        pending.addErrback(self._failed).addCallback(self._served)

    def _served(self, result: object) -> None:
        self._pending = None
        self._client.resumeRequest()

    def _failed(self, failure: Failure) -> None:
        if not self._isGone:
            log.failure("A request of HTTP failed.", failure)
            self.refuse("internal error", INTERNAL_ERROR)

    async def _serve(self, request: h11.Request) -> None:
        try:
            destination = self._understand(request)
        except RemoteProtocolError as wrong:
            isLost = request.target.startswith(b"/")
            self.refuse(str(wrong), GREETING if isLost else BAD_REQUEST)
            return
        who = self._login.identify(request)
        if isinstance(who, Deferred):
            targets = self._targets
            if targets.requestTimeout:
                who.addTimeout(targets.requestTimeout, targets.clock)
            try:
                who = await who
            except TimeoutError:
                self.refuse("the login took too long", INTERNAL_ERROR)
                return
        if isinstance(who, Page):
            if who.isLast:
                self.refuse(f"login: {who.status.phrase}", who)
            else:
                self._answer(who)
            return
        if isForProxy(request):
            self._answer(NOT_HERE if request.method == b"TRACE" else RECEIVED)
            return
        wanted = Request(Command.CONNECT, destination, who)
        if self._target is not None and not self._isFor(self._target, wanted):
            self._dropTarget("closed")
        await self._passOn(wanted)

    def _understand(self, request: h11.Request) -> Address:
        """
        Where it shall go, and in what words.

        @raise RemoteProtocolError: this is not known.
        """
        if request.method == b"CONNECT":
            return connectDestination(request)
        target = AbsoluteTarget.parse(request.target)
        if target is None:
            raise RemoteProtocolError("a request that names no http:// target")
        self._passedOn = forwardedRequest(request, target)
        return target.destination

    def _isFor(self, target: TargetEnd, wanted: Request) -> bool:
        """
        Whether the present request can go over C{target}.  A tunnel is always new.
        """
        isRequest = self._passedOn is not None
        return isRequest and target.isIdle and target.request == wanted

    async def _passOn(self, wanted: Request) -> None:
        """
        Send the head of the request, over a new connection unless there is one.
        """
        if self._target is None:
            isTunnel = self._passedOn is None
            end = TargetEnd(wanted, self, self._targets, isTunnel)
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
            if self._client.isFull:
                end.transport.pauseProducing()
        self._isUnderWay = True
        if self._passedOn is not None:
            self._target.begin(self._passedOn)
            if self._target.isLost:
                # It was before its connector has told of it.
                self.targetLost(self._target)

    async def _repeat(self, wanted: Request) -> None:
        """
        The same once more; it has no body.
        """
        await self._passOn(wanted)
        if self._target is not None:
            self._target.endBody([])

    def _answer(self, page: Page) -> None:
        """
        Answer a request that went nowhere.
        """
        # What follows a CONNECT was not meant for us.
        isConnect = self._request.method == b"CONNECT"
        self._client.answer(page.last() if isConnect else page)

    def refuse(self, reason: str, page: Page) -> None:
        """
        Answer what is no request that could be made.
        """
        self._dropTarget("closed")
        self._targets.refused(reason)
        self._client.answer(page)

    # Responses.

    def responseCame(self, response: h11.Response | h11.InformationalResponse) -> None:
        isFinal = isinstance(response, h11.Response)
        if not isFinal and self._request.http_version < b"1.1":
            return
        self._client.send(forwardedResponse(response, self._isLast and isFinal))
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            assert self._target is not None
            self._beginTunnel(self._target)

    def bodyReceived(self, data: bytes) -> None:
        self._client.send(h11.Data(data=data))

    def responseEnded(self, trailers: Any) -> None:
        isOld = self._request.http_version < b"1.1"
        trailers = [] if isOld else forwardedTrailers(trailers)
        self._client.send(h11.EndOfMessage(headers=trailers))

    def targetFull(self, isFull: bool) -> None:
        self._client.targetFull(isFull)

    def targetLost(self, end: TargetEnd) -> None:
        self._ends.discard(end)
        if end is self._target:
            self._dropTarget(end.reason)
            if self._isUnderWay:
                self._responseIsMissing(end)
        self._over()

    def _responseIsMissing(self, end: TargetEnd) -> None:
        """
        The target has gone, perhaps in the middle of something.
        """
        client = self._client
        if client.isBeingTold:
            # It must not take this for all of it.
            client.abort()
        elif client.isAwaited:
            isRepeatable = (
                self._request.method in _SAFE
                and not client.isAsking
                and not any(name in FRAMING for name, _ in self._request.headers)
            )
            self._isUnderWay = False
            if end.isSilent:
                self._answer(TIMED_OUT)
            elif end.isUsed and not end.hasAnswered and isRepeatable:
                self._run(self._repeat(end.request))
            else:
                self._answer(NOT_ANSWERED)

    # What is not HTTP any more.

    def _beginTunnel(self, target: TargetEnd) -> None:
        """
        The target and the client speak something else from now on.
        """

        def finished(reason: str) -> None:
            target.bytesSent += relay.bytesSent
            self._targets.finished(target, reason)
            self._target = None
            self._ends.discard(target)
            self._client.connectionLost()

        self._tunnel = relay = ProtocolRelay(
            self._client.intoTunnel(),
            target.intoTunnel(),
            self._targets.idleWatch,
            finished,
        )
        relay.start()

    # The end.

    def close(self) -> None:
        """
        There are no more requests.
        """
        self._dropTarget("closed")
        self._client.close()

    def _dropTarget(self, reason: str) -> None:
        """
        There is no more use for the connection.
        """
        target, self._target = self._target, None
        if target is not None:
            target.close()
            self._targets.finished(target, reason)
            self._client.targetFull(False)

    def _over(self) -> None:
        """
        Unless something is left of it.
        """
        if self._isGone and not self._ends:
            self._login.abandon()
            self._finished()
