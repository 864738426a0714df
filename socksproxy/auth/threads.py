"""
Checkers that take their time: a slow hash, PAM.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from socksproxy.auth.errors import NotChecked
from socksproxy.auth.logins import AvatarId
from socksproxy.daemonpool import startedPool

__all__ = ["QUEUE", "THREADS", "IBlocking", "InThreads"]

log = Logger()

THREADS = 4
"""
Checks at a time.  They compete with the reactor for the processor.
"""

QUEUE = 256
"""
Checks that may wait for their turn.  At a tenth of a second for each, the last
one waits for six seconds.
"""

SILENCE = 60.0
"""
Seconds between two log lines that say the same.
"""


class IBlocking(Interface):
    """
    A checker that had better be asked on a thread.
    """

    def check(username: bytes, password: bytes) -> AvatarId:
        """
        Called on a thread, and on several at a time.

        @raise LoginFailed: it is not the user's password, which is an
            L{UnauthorizedLogin <twisted.cred.error.UnauthorizedLogin>}, or that
            could not be found out.
        """


@implementer(ICredentialsChecker)
class InThreads:
    """
    A checker made of a function that blocks.

    A thread cannot be stopped: a check that nobody waits for any longer goes on,
    if it has begun.  When too many wait, a login is refused without a look.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self,
        reactor: Any,
        check: Callable[[bytes, bytes], AvatarId],
        threads: int = THREADS,
        queue: int = QUEUE,
        pool: Any = None,
    ) -> None:
        """
        @param reactor: provides L{IReactorFromThreads
            <twisted.internet.interfaces.IReactorFromThreads>}, L{IReactorCore
            <twisted.internet.interfaces.IReactorCore>} and L{IReactorTime
            <twisted.internet.interfaces.IReactorTime>}.
        @param check: as L{IBlocking.check}.
        @param threads: how many checks there are at a time.
        @param queue: how many more may wait.
        @param pool: a L{ThreadPool <twisted.python.threadpool.ThreadPool>} that
            runs; one of its own unless given, which is started when it is needed.
        """
        self._reactor = reactor
        self._check = check
        self._threads = threads
        self._limit = queue
        self._pool = pool
        self._running = 0
        # In the order in which they came.
        self._queue: dict[Deferred[AvatarId], tuple[bytes, bytes]] = {}
        self._silentUntil = 0.0

    def requestAvatarId(self, credentials: Any) -> Deferred[AvatarId]:
        if self._running >= self._threads and len(self._queue) >= self._limit:
            self._warn()
            raise NotChecked("too many logins wait to be checked")

        def cancelled(answered: Deferred[AvatarId]) -> None:
            self._queue.pop(answered, None)

        answered: Deferred[AvatarId] = Deferred(cancelled)
        self._queue[answered] = (credentials.username, credentials.password)
        self._startNext()
        return answered

    def _startNext(self) -> None:
        if not self._queue or self._running >= self._threads:
            return
        if self._pool is None:
            self._pool = startedPool(self._reactor, self._threads, "logins")
        answered = next(iter(self._queue))
        username, password = self._queue.pop(answered)
        self._running += 1
        deferToThreadPool(
            self._reactor, self._pool, self._check, username, password
        ).addBoth(self._checked, answered)

    def _checked(
        self, answer: AvatarId | Failure, answered: Deferred[AvatarId]
    ) -> None:
        self._running -= 1
        self._startNext()
        if not answered.called:  # It was not cancelled.
            answered.callback(answer)

    def _warn(self) -> None:
        now = self._reactor.seconds()
        if now >= self._silentUntil:
            self._silentUntil = now + SILENCE
            log.warn(
                "{count} logins wait to be checked, as many as may: others are "
                "refused.",
                count=len(self._queue),
            )
