"""
From an endpoint that leads to a proxy to a proxy that has granted a request.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import (
    IAddress,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from socksproxy.client.errors import ProxyFailed, ProxyTimedOut, ProxyUnreachable
from socksproxy.client.handshake import Handshake
from socksproxy.client.interfaces import IConversation
from socksproxy.errors import TimedOut, replyCodeOf

__all__ = ["TIMEOUT", "connectTo", "limited", "reach"]

TIMEOUT = 30.0
"""
Seconds from the first attempt to connect to the proxy until its reply.
"""

_UNUSED = Factory()
_UNUSED.noisy = False

_TOLD = (CancelledError, ConnectingCancelledError, ProxyFailed)
"""
Failures that say what they have to say.
"""


_OURS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def reach(
    reactor: IReactorTime,
    inner: IStreamClientEndpoint,
    conversation: IConversation,
    timeout: float = TIMEOUT,
    protocolFactory: IProtocolFactory = _UNUSED,
) -> Deferred[Handshake]:
    """
    Connect to a proxy, and converse with it until it has granted the request.

    @param inner: leads to the proxy.
    @param timeout: in seconds, for all of it; 0 is no limit.
    @param protocolFactory: is told when it starts and stops.
    @return: fails with a L{RequestFailed <socksproxy.errors.RequestFailed>}.
        However it fails, and when it is cancelled, all that was opened is closed.
    """
    reached = connectTo(inner, conversation, protocolFactory).addCallback(
        Handshake.converse
    )
    return limited(reached, reactor, conversation, timeout)


def connectTo(
    inner: IStreamClientEndpoint,
    conversation: IConversation,
    protocolFactory: IProtocolFactory = _UNUSED,
    name: str = "the proxy",
) -> Deferred[Handshake]:
    """
    The first half of it: nothing is said yet.

    @param name: the proxy's, for errors.
    @return: fails with L{ProxyUnreachable}, or as another proxy on the way has
        failed.
    """
    connecting: Any = inner.connect(_Handshakes(conversation, protocolFactory))

    def failed(failure: Failure) -> Failure:
        conversation.abandon()
        cause = failure.value
        if isinstance(cause, _TOLD) or not _isOfTheNetwork(cause):
            return failure
        words = str(cause) or type(cause).__name__
        unreachable = ProxyUnreachable(f"no connection to {name}: {words}")
        unreachable.__cause__ = cause
        return Failure(unreachable)

    connected: Deferred[Handshake] = connecting.addErrback(failed)
    return connected


def _isOfTheNetwork(cause: BaseException | None) -> bool:
    """
    Whether it is neither a fault of this program nor something that it has run
    out of.
    """
    # Twisted's have it elsewhere.
    if {getattr(cause, "errno", None), getattr(cause, "osError", None)} & _OURS:
        return False
    if isinstance(cause, (ConnectError, OSError)):
        return True
    return cause is not None and replyCodeOf(cause) is not None


def limited(
    waiting: Deferred[Handshake],
    reactor: IReactorTime,
    conversation: IConversation,
    timeout: float,
    name: str = "the proxy",
) -> Deferred[Handshake]:
    """
    Cancel C{waiting} when it takes longer than C{timeout}; 0 is no limit.

    @param name: the proxy's, for errors.
    @return: it fails with L{ProxyTimedOut} then, or L{TimedOut} when the proxy
        knows the request.
    """

    def tooLate(result: object, seconds: float) -> object:
        if not isinstance(result, Failure):
            return result
        if conversation.isRequested:
            raise TimedOut(f"{name} did not answer the request in time")
        raise ProxyTimedOut(f"{name} did not answer in time")

    if timeout:
        waiting.addTimeout(timeout, reactor, tooLate)
    return waiting


class _Handshakes(Factory):
    """
    One handshake, for the endpoint that leads to the proxy.
    """

    noisy = False

    def __init__(
        self, conversation: IConversation, protocolFactory: IProtocolFactory
    ) -> None:
        """
        @param protocolFactory: is told when it starts and stops.
        """
        self._conversation = conversation
        self._protocolFactory = protocolFactory

    def doStart(self) -> None:
        self._protocolFactory.doStart()

    def doStop(self) -> None:
        self._protocolFactory.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Handshake:
        return Handshake(self._conversation)
