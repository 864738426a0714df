"""
Tests for L{socksproxy.errors}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import errno
import socket
from itertools import pairwise, permutations

from twisted.cred.error import UnauthorizedLogin
from twisted.internet import error
from twisted.internet.defer import CancelledError
from twisted.internet.error import getConnectError
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.errors import (
    AddressTypeNotSupported,
    CommandNotSupported,
    ConnectionRefused,
    GeneralFailure,
    HostUnreachable,
    NetworkUnreachable,
    NotAllowed,
    RemoteProtocolError,
    RequestFailed,
    TimedOut,
    TTLExpired,
    mostTelling,
    replyCodeOf,
    wordsOf,
)
from socksproxy.wire.constants import ReplyCode

BY_ERRNO = (
    (errno.ECONNREFUSED, 5),
    (errno.ECONNRESET, 5),
    (errno.ENETUNREACH, 3),
    (errno.ENETDOWN, 3),
    (errno.EAFNOSUPPORT, 3),
    (errno.EADDRNOTAVAIL, 3),
    (errno.EHOSTUNREACH, 4),
    (errno.EHOSTDOWN, 4),
    (errno.ETIMEDOUT, 4),
    (errno.EACCES, 2),
    (errno.EPERM, 2),
    (errno.EMFILE, 1),
    (errno.ENFILE, 1),
    (errno.ENOBUFS, 1),
    (errno.ENOMEM, 1),
)


def osError(number: int) -> OSError:
    return OSError(number, "whatever the text is")


class ReplyCodeTests(SynchronousTestCase):
    """
    L{replyCodeOf}: each cause has its reply.
    """

    def test_requestFailed(self) -> None:
        """
        Each kind of L{RequestFailed} carries its reply, and so does one that
        somebody else derives.
        """

        class Quota(NotAllowed):
            pass

        for kind, code in (
            (RequestFailed, 1),
            (GeneralFailure, 1),
            (NotAllowed, 2),
            (Quota, 2),
            (NetworkUnreachable, 3),
            (HostUnreachable, 4),
            (TimedOut, 4),
            (ConnectionRefused, 5),
            (TTLExpired, 6),
            (CommandNotSupported, 7),
            (AddressTypeNotSupported, 8),
        ):
            self.assertEqual(replyCodeOf(kind("why")), code)

    def test_remoteProtocolError(self) -> None:
        """
        What a peer did wrong says itself how it is answered.
        """
        self.assertEqual(replyCodeOf(RemoteProtocolError("why")), 1)
        wrong = RemoteProtocolError("why", ReplyCode.HOST_UNREACHABLE)
        self.assertEqual(replyCodeOf(wrong), 4)

    def test_errno(self) -> None:
        """
        An L{OSError} is judged by its errno.
        """
        for number, code in BY_ERRNO:
            self.assertEqual(
                replyCodeOf(osError(number)), code, errno.errorcode[number]
            )

    def test_twistedConnectError(self) -> None:
        """
        What Twisted makes of an errno is answered as the errno is.
        """
        for number, code in BY_ERRNO:
            failure = getConnectError((number, "text"))
            self.assertIsInstance(failure, error.ConnectError)
            self.assertEqual(replyCodeOf(failure), code, errno.errorcode[number])

    def test_twistedUnknownHost(self) -> None:
        """
        A name that C{getaddrinfo} does not know makes the host unreachable.
        """
        failure = getConnectError(socket.gaierror(socket.EAI_NONAME, "text"))
        self.assertIsInstance(failure, error.UnknownHostError)
        self.assertEqual(replyCodeOf(failure), 4)

    def test_byType(self) -> None:
        """
        Exceptions without an errno are judged by their type.
        """
        for failure, code in (
            (error.ConnectionRefusedError(), 5),
            (error.ConnectionLost(), 5),
            (error.ConnectionDone(), 5),
            (error.NoRouteError(), 3),
            (error.DNSLookupError(), 4),
            (error.UnknownHostError(), 4),
            (error.TimeoutError(), 4),
            (TimeoutError(), 4),
            (CancelledError(), 4),
            (error.ConnectingCancelledError(None), 4),
        ):
            self.assertEqual(replyCodeOf(failure), code, repr(failure))

    def test_twistedTimedOut(self) -> None:
        """
        Twisted's exception for a TCP connection that timed out, which is no
        L{error.TimeoutError}, does not need its errno.
        """
        self.assertEqual(replyCodeOf(error.TCPTimedOutError()), 4)

    def test_builtinConnectionErrors(self) -> None:
        """
        Python's own subclasses of L{OSError} are judged by their errno.
        """
        for failure, code in (
            (ConnectionRefusedError(errno.ECONNREFUSED, "text"), 5),
            (ConnectionResetError(errno.ECONNRESET, "text"), 5),
            (TimeoutError(errno.ETIMEDOUT, "text"), 4),
        ):
            self.assertEqual(replyCodeOf(failure), code)

    def test_ours(self) -> None:
        """
        What no peer and no network brings about has no reply: it is a fault of
        ours.
        """
        for failure in (
            ValueError("x"),
            ZeroDivisionError(),
            AttributeError("refused"),
            OSError("no errno"),
            osError(errno.EBADF),
            osError(errno.ENOENT),
            error.ConnectError("no errno"),
            error.NoProtocol(),
            UnauthorizedLogin(),
            KeyboardInterrupt(),
        ):
            self.assertIsNone(replyCodeOf(failure), repr(failure))

    def test_whateverConnectReports(self) -> None:
        """
        Whatever errno a destination or the network can make C{connect} fail
        with has a reply: a client cannot bring about a logged fault.

        EINVAL is a link-local IPv6 address without its zone, ECONNABORTED what
        the dialer says when the reactor stops; the others are what Linux makes
        of ICMP unreachable messages (net/ipv4/icmp.c, net/ipv6/icmp.c).
        """
        names = (
            "EINVAL",
            "ECONNABORTED",
            "ENONET",
            "ENOPROTOOPT",
            "EOPNOTSUPP",
            "EMSGSIZE",
            "EPROTO",
        )
        unknown = [
            name
            for name in names
            if replyCodeOf(osError(getattr(errno, name, errno.EINVAL))) is None
        ]
        self.assertEqual(unknown, [])


class MostTellingTests(SynchronousTestCase):
    """
    L{mostTelling} chooses among the failures of several addresses.
    """

    def test_order(self) -> None:
        """
        Refused says more than TTL expired, that more than host unreachable,
        network unreachable, timed out, a rule of this machine, its own
        trouble, and a fault, whichever comes first.
        """
        ranks: list[tuple[BaseException, ...]] = [
            (osError(errno.ECONNREFUSED), error.ConnectionRefusedError()),
            (TTLExpired(),),
            (osError(errno.EHOSTUNREACH), HostUnreachable(), error.DNSLookupError()),
            (osError(errno.ENETUNREACH), error.NoRouteError()),
            (
                osError(errno.ETIMEDOUT),
                TimedOut(),
                error.TimeoutError(),
                CancelledError(),
            ),
            (osError(errno.EACCES), NotAllowed()),
            (osError(errno.EMFILE), ValueError("x")),
        ]
        for better, worse in pairwise(ranks):
            for a in better:
                for b in worse:
                    self.assertIs(mostTelling([a, b]), a)
                    self.assertIs(mostTelling([b, a]), a)

    def test_twistedTimedOut(self) -> None:
        """
        Twisted's exception for a TCP connection that timed out is a timeout,
        as C{ETIMEDOUT} is.
        """
        timedOut = getConnectError((errno.ETIMEDOUT, "text"))
        unreachable = osError(errno.ENETUNREACH)
        self.assertIs(mostTelling([timedOut, unreachable]), unreachable)

    def test_ofMany(self) -> None:
        """
        The order in which they came does not matter.
        """
        failures = [
            osError(errno.EHOSTUNREACH),
            osError(errno.ECONNREFUSED),
            osError(errno.ENETUNREACH),
            TimedOut(),
        ]
        for order in permutations(failures):
            self.assertIs(mostTelling(order), failures[1])

    def test_firstOfEquals(self) -> None:
        """
        Of equals the first one is chosen.
        """
        first, second = osError(errno.ECONNREFUSED), osError(errno.ECONNREFUSED)
        self.assertIs(mostTelling([first, second]), first)
        self.assertIs(mostTelling(iter([second, first])), second)


class WordsTests(SynchronousTestCase):
    """
    L{wordsOf} says what has happened.
    """

    def test_OpenSSL(self) -> None:
        """
        Of what OpenSSL says the last reason is taken, which sums it up.
        """
        queue = [
            ("rsa routines", "", "block type is not 01"),
            ("SSL routines", "", "certificate verify failed"),
        ]
        self.assertEqual(wordsOf(Exception(queue)), "certificate verify failed")

    def test_others(self) -> None:
        """
        All else has a text, or at least a type.
        """
        self.assertEqual(wordsOf(ValueError("no way")), "no way")
        self.assertEqual(wordsOf(ValueError()), "ValueError")
        self.assertEqual(wordsOf(Exception([])), "[]")
