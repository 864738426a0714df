"""
Checkers that take their time, and so do their work on threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from socksproxy.auth.password import AvatarId

__all__ = ["Defer", "Knows", "checked", "deferToThread"]

Defer = Callable[..., Deferred[bool]]
"""
Calls a function with arguments on another thread, as L{deferToThread} does on one
of the reactor's.
"""

Knows = Callable[[bytes, bytes], bool]
"""
Whether somebody has this name and this password.
"""


def checked(credentials: Any, knows: Knows, defer: Defer) -> Deferred[AvatarId]:
    """
    A checker's answer.

    @param credentials: provide L{IUsernamePassword
        <twisted.cred.credentials.IUsernamePassword>}.
    """
    name = credentials.username

    def answer(known: bool) -> AvatarId:
        if not known:
            raise UnauthorizedLogin()
        return bytes(name)

    return defer(knows, name, credentials.password).addCallback(answer)
