"""
What a peer's bytes can do wrong.
"""

from __future__ import annotations

from socksproxy.wire.constants import ReplyCode

__all__ = ["RemoteProtocolError"]


class RemoteProtocolError(Exception):
    """
    The peer sent something that the protocol does not allow.

    Its text says what, in words that are safe to log: no byte that the peer
    chose freely is part of it.

    @ivar reply: the code that answers it where the protocol is at a point at
        which a reply can be sent.
    """

    def __init__(
        self, reason: str, reply: ReplyCode = ReplyCode.GENERAL_FAILURE
    ) -> None:
        super().__init__(reason)
        self.reply = reply
