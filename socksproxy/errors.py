"""
What can go wrong, each with the reply that it causes (RFC 1928 section 6).

Causes are told by exception type and errno, never by the text of a message.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from twisted.internet import error
from twisted.internet.defer import CancelledError

from socksproxy.wire.constants import ReplyCode
from socksproxy.wire.errors import RemoteProtocolError

__all__ = [
    "AddressTypeNotSupported",
    "CommandNotSupported",
    "ConnectionRefused",
    "GeneralFailure",
    "HostUnreachable",
    "NetworkUnreachable",
    "NotAllowed",
    "RemoteProtocolError",
    "RequestFailed",
    "TTLExpired",
    "TimedOut",
    "isTimeout",
    "mostTelling",
    "replyCodeOf",
    "wordsOf",
]


class RequestFailed(Exception):
    """
    A request could not be granted.  A connector raises one of the classes
    below, or anything that L{replyCodeOf} knows.

    @cvar reply: the code that the client is answered with.
    """

    reply = ReplyCode.GENERAL_FAILURE


class GeneralFailure(RequestFailed):
    """
    The proxy's own trouble: out of descriptors, for example.
    """


class NotAllowed(RequestFailed):
    """
    A rule, a limit or a quota refuses it.
    """

    reply = ReplyCode.NOT_ALLOWED


class NetworkUnreachable(RequestFailed):
    """
    There is no route, or no address of a family that this machine can reach.
    """

    reply = ReplyCode.NETWORK_UNREACHABLE


class HostUnreachable(RequestFailed):
    """
    The name does not resolve, or the host cannot be reached.
    """

    reply = ReplyCode.HOST_UNREACHABLE


class TimedOut(HostUnreachable):
    """
    Nobody answered in time.
    """


class ConnectionRefused(RequestFailed):
    """
    The target refused, or reset the connection while it was being made.
    """

    reply = ReplyCode.CONNECTION_REFUSED


class TTLExpired(RequestFailed):
    """
    A router reported that the time to live ran out on the way.
    """

    reply = ReplyCode.TTL_EXPIRED


class CommandNotSupported(RequestFailed):
    """
    The command is unknown, or switched off.
    """

    reply = ReplyCode.COMMAND_NOT_SUPPORTED


class AddressTypeNotSupported(RequestFailed):
    """
    The connector has no use for an address of this type.
    """

    reply = ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED


_BY_ERRNO = {
    errno.ECONNREFUSED: ReplyCode.CONNECTION_REFUSED,
    errno.ECONNRESET: ReplyCode.CONNECTION_REFUSED,
    errno.ENETUNREACH: ReplyCode.NETWORK_UNREACHABLE,
    errno.ENETDOWN: ReplyCode.NETWORK_UNREACHABLE,
    # An IPv6 address on a machine without IPv6 comes as one of these two.
    errno.EAFNOSUPPORT: ReplyCode.NETWORK_UNREACHABLE,
    errno.EADDRNOTAVAIL: ReplyCode.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: ReplyCode.HOST_UNREACHABLE,
    errno.EHOSTDOWN: ReplyCode.HOST_UNREACHABLE,
    errno.ETIMEDOUT: ReplyCode.HOST_UNREACHABLE,
    # What some ICMP messages become, and an address that cannot be a target.
    errno.EINVAL: ReplyCode.HOST_UNREACHABLE,
    errno.EMSGSIZE: ReplyCode.HOST_UNREACHABLE,
    errno.ENOPROTOOPT: ReplyCode.HOST_UNREACHABLE,
    errno.EOPNOTSUPP: ReplyCode.HOST_UNREACHABLE,
    errno.EPROTO: ReplyCode.HOST_UNREACHABLE,
    # A packet filter of this machine, or a `prohibit` route.
    errno.EACCES: ReplyCode.NOT_ALLOWED,
    errno.EPERM: ReplyCode.NOT_ALLOWED,
    # This process is stopping, or the machine has run out of something.
    errno.ECONNABORTED: ReplyCode.GENERAL_FAILURE,
    errno.EADDRINUSE: ReplyCode.GENERAL_FAILURE,
    errno.EMFILE: ReplyCode.GENERAL_FAILURE,
    errno.ENFILE: ReplyCode.GENERAL_FAILURE,
    errno.ENOBUFS: ReplyCode.GENERAL_FAILURE,
    errno.ENOMEM: ReplyCode.GENERAL_FAILURE,
}

if hasattr(errno, "ENONET"):  # Linux's
    _BY_ERRNO[errno.ENONET] = ReplyCode.HOST_UNREACHABLE

_BY_TYPE: tuple[tuple[type[BaseException], ReplyCode], ...] = (
    (error.ConnectionRefusedError, ReplyCode.CONNECTION_REFUSED),
    (error.NoRouteError, ReplyCode.NETWORK_UNREACHABLE),
    (error.DNSLookupError, ReplyCode.HOST_UNREACHABLE),
    (error.UnknownHostError, ReplyCode.HOST_UNREACHABLE),
    (error.TimeoutError, ReplyCode.HOST_UNREACHABLE),
    (error.TCPTimedOutError, ReplyCode.HOST_UNREACHABLE),
    (TimeoutError, ReplyCode.HOST_UNREACHABLE),
    (CancelledError, ReplyCode.HOST_UNREACHABLE),
    (error.ConnectingCancelledError, ReplyCode.HOST_UNREACHABLE),
    (error.ConnectionLost, ReplyCode.CONNECTION_REFUSED),
    (error.ConnectionDone, ReplyCode.CONNECTION_REFUSED),
)


def replyCodeOf(exception: BaseException) -> ReplyCode | None:
    """
    The reply that C{exception} causes, or L{None} for one that no peer and no
    network can bring about: a fault of this program, which is logged and
    answered with 01.
    """
    if isinstance(exception, (RequestFailed, RemoteProtocolError)):
        return exception.reply
    number = _errnoOf(exception)
    if number in _BY_ERRNO:
        return _BY_ERRNO[number]
    for kind, reply in _BY_TYPE:
        if isinstance(exception, kind):
            return reply
    return None


def _errnoOf(exception: BaseException) -> int | None:
    if isinstance(exception, error.ConnectError):
        number = exception.osError
    elif isinstance(exception, OSError):
        number = exception.errno
    else:
        number = None
    return number if isinstance(number, int) else None


def mostTelling(failures: Iterable[BaseException]) -> BaseException:
    """
    Of the failures of several addresses of one target, the one that says most
    about it; of equals the first.
    """
    return min(failures, key=_rank)


_TIMEOUTS = (
    TimedOut,
    TimeoutError,
    error.TimeoutError,
    error.TCPTimedOutError,
    CancelledError,
)

_RANKED = (
    ReplyCode.CONNECTION_REFUSED,
    ReplyCode.TTL_EXPIRED,
    ReplyCode.HOST_UNREACHABLE,
    ReplyCode.NETWORK_UNREACHABLE,
)


def isTimeout(exception: BaseException) -> bool:
    """
    Whether nobody has said no, but nobody has answered either.
    """
    return isinstance(exception, _TIMEOUTS)


def _rank(exception: BaseException) -> int:
    reply = replyCodeOf(exception)
    if isTimeout(exception):
        return len(_RANKED)
    if reply in _RANKED:
        return _RANKED.index(reply)
    # This machine's own trouble tells least of all about the target.
    return len(_RANKED) + (1 if reply is ReplyCode.NOT_ALLOWED else 2)


def wordsOf(exception: BaseException | None) -> str:
    """
    What has happened, for a log line.  OpenSSL, which need not be installed, keeps
    its words in tuples: library, function, reason; the last one tells what all of
    them come to.
    """
    reasons = exception.args[0] if exception is not None and exception.args else None
    if isinstance(reasons, list) and reasons:
        return str(reasons[-1][-1])
    return str(exception) or type(exception).__name__
