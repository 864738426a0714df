"""
The conversation of SOCKS4 and 4a, as clients have it.
"""

from __future__ import annotations

from zope.interface import implementer

from socksproxy.client.errors import LoginRefused
from socksproxy.client.interfaces import ConversationStep, IConversation, Replied
from socksproxy.errors import GeneralFailure
from socksproxy.interfaces import Continue
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command
from socksproxy.wire.socks4 import MAX_STRING, Code, Reply, Request

__all__ = ["SOCKS4Conversation"]


@implementer(IConversation)
class SOCKS4Conversation:
    """
    A request, and as many replies as are asked for.
    """

    isRequested = False

    def __init__(
        self, command: Command, destination: Address, userId: bytes = b""
    ) -> None:
        """
        @param destination: with a name it is 4a that is spoken.
        @raise ValueError: C{userId} cannot be one.
        """
        if b"\0" in userId or len(userId) > MAX_STRING:
            raise ValueError(f"a user id has no NUL, and {MAX_STRING} bytes at most")
        self._request = Request(command, destination, userId).encode()

    def advance(self, received: ReceiveBuffer) -> ConversationStep | None:
        if not self.isRequested:
            self.isRequested = True
            return Continue(self._request)
        reply = Reply.parse(received)
        if reply is None:
            return None
        if reply.code == Code.GRANTED:
            return Replied(reply.bound)
        if reply.code == Code.REFUSED:
            raise GeneralFailure("the proxy answered: rejected or failed")
        raise LoginRefused("the proxy asked identd, and refused")

    def abandon(self) -> None:
        pass
