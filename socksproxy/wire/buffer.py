"""
Received bytes that nobody has taken yet.
"""

from __future__ import annotations

from socksproxy.wire.errors import RemoteProtocolError

__all__ = ["ReceiveBuffer"]


class ReceiveBuffer:
    """
    Bytes in the order in which they arrived: taken exactly, or not at all.

    @ivar limit: how many bytes it holds at the most.
    """

    __slots__ = ("_data", "_start", "limit")

    def __init__(self, data: bytes = b"", limit: int = 1 << 18) -> None:
        self._data = data
        self._start = 0
        self.limit = limit

    def __len__(self) -> int:
        return len(self._data) - self._start

    def feed(self, data: bytes) -> None:
        """
        Add what was received.

        @raise RemoteProtocolError: more than C{limit} bytes would wait here.
        """
        if self._start < len(self._data):
            data = self._data[self._start :] + data
        if len(data) > self.limit:
            raise RemoteProtocolError("too many bytes before they were asked for")
        self._data = data
        self._start = 0

    def peek(self, count: int) -> bytes | None:
        """
        The first C{count} bytes, left in place, or L{None} when there are not
        as many.
        """
        end = self._start + count
        if end > len(self._data):
            return None
        return self._data[self._start : end]

    def take(self, count: int) -> bytes | None:
        """
        The first C{count} bytes, which are gone from here then, or L{None}
        when there are not as many: nothing was taken then.
        """
        end = self._start + count
        if end > len(self._data):
            return None
        taken = self._data[self._start : end]
        self._start = end
        return taken

    def takeAll(self) -> bytes:
        """
        Everything, perhaps nothing.
        """
        taken = self._data[self._start :]
        self._data = b""
        self._start = 0
        return taken
