"""
Logins that were right a moment ago need not be checked again: a browser opens
hundreds of connections, and a good hash takes a tenth of a second.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

from socksproxy.auth.logins import AvatarId, firstThatKnows

__all__ = ["SECONDS", "SIZE", "IChanging", "Remembering"]

SECONDS = 60.0
"""
For how long a login is remembered, unless told.
"""

SIZE = 10_000
"""
Logins that are remembered at a time; the oldest is forgotten first.
"""


class IChanging(Interface):
    """
    A checker that notices when its users change.
    """

    generation: object = Attribute(
        "Compared at each login, so it should be cheap: when it is not what it was, "
        "everybody is checked anew."
    )


@implementer(ICredentialsChecker)
class Remembering:
    """
    A checker before others.  What they have taken their time to find right is
    remembered; what they answer at once is not, as that costs nothing, and what is
    wrong is not.  Those who ask for the same at the same time share one check.

    Neither names nor passwords are kept, but their hash under a key that only this
    object has.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self,
        clock: IReactorTime,
        checkers: Sequence[ICredentialsChecker],
        seconds: float = SECONDS,
        size: int = SIZE,
        changing: Sequence[Any] | None = None,
    ) -> None:
        """
        @param checkers: asked in their order until one knows the client.
        @param seconds: from a check on; it is not prolonged.
        @param changing: those whose users may change; C{checkers} unless given.
            Each that has what L{IChanging} says is heeded.
        """
        self._clock = clock
        self._checker = firstThatKnows(checkers)
        # One that says too little of itself must not be overlooked.
        self._changing: list[Any] = [
            checker
            for checker in (checkers if changing is None else changing)
            if IChanging.providedBy(checker) or hasattr(checker, "generation")
        ]
        self._generations = self._ask()
        self._seconds = seconds
        self._size = size
        self._key = os.urandom(32)
        # What was checked first is forgotten first.
        self._known: dict[bytes, tuple[float, AvatarId]] = {}
        self._checks: dict[bytes, _Check] = {}

    def __len__(self) -> int:
        return len(self._known)

    def forget(self) -> None:
        """
        Users or passwords have changed.  A check that is under way is not
        remembered either, and nobody joins it any more.
        """
        self._known.clear()
        self._checks.clear()

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        @return: an L{AvatarId}, or a Deferred of one: what is known at once is
            plain, which portals and L{Logins <socksproxy.auth.logins.Logins>}
            take too.
        """
        self._notice()
        key = self._hash(credentials.username, credentials.password)
        found = self._known.get(key)
        if found is not None:
            until, avatarId = found
            if self._clock.seconds() < until:
                return avatarId
            del self._known[key]
        check = self._checks.get(key)
        if check is None:
            answer = self._checker.requestAvatarId(credentials)
            if not isinstance(answer, Deferred) or (
                answer.called and not answer.paused
            ):
                return answer
            check = self._checks[key] = _Check(answer)
            answer.addBoth(self._checked, key, check)
        return check.join()

    def _checked(self, answer: AvatarId | Failure, key: bytes, check: _Check) -> None:
        if self._checks.get(key) is check:
            del self._checks[key]
            if not isinstance(answer, Failure):
                self._remember(key, answer)
        check.over(answer)

    def _remember(self, key: bytes, avatarId: AvatarId) -> None:
        now = self._clock.seconds()
        while self._known:
            first = next(iter(self._known))
            if len(self._known) < self._size and self._known[first][0] > now:
                break
            del self._known[first]
        self._known[key] = (now + self._seconds, avatarId)

    def _hash(self, username: bytes, password: bytes) -> bytes:
        return blake2b(
            b"%d:%b%b" % (len(username), username, password),
            key=self._key,
            digest_size=32,
        ).digest()

    def _ask(self) -> list[object]:
        return [checker.generation for checker in self._changing]

    def _notice(self) -> None:
        if self._changing:
            generations = self._ask()
            if generations != self._generations:
                self._generations = generations
                self.forget()


class _Check:
    """
    One check, and those who wait for it.  It is given up when all have left.
    """

    def __init__(self, asked: Deferred[AvatarId]) -> None:
        self._asked = asked
        # In the order in which they came; the values mean nothing.
        self._waiting: dict[Deferred[AvatarId], None] = {}

    def join(self) -> Deferred[AvatarId]:
        waiting: Deferred[AvatarId] = Deferred(self._left)
        self._waiting[waiting] = None
        return waiting

    def over(self, answer: AvatarId | Failure) -> None:
        while self._waiting:
            # One may be the reason for others to leave.
            waiting = next(iter(self._waiting))
            del self._waiting[waiting]
            waiting.callback(answer)

    def _left(self, waiting: Deferred[AvatarId]) -> None:
        if waiting in self._waiting:
            del self._waiting[waiting]
            if not self._waiting:
                self._asked.cancel()
