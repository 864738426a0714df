"""
Putting the fragments of datagrams together (RFC 1928 section 7).

A sequence is whole when its fragments have come in their order, from position 1
to the one that is marked as the last.  RFC 1928 has a position that is not above
the highest one seen start anew, so a gap can never be filled later: whatever
cannot become whole any more is dropped at once, and nothing of it is ever passed
on.
"""

from __future__ import annotations

from socksproxy.wire.address import Address
from socksproxy.wire.socks5 import LAST_FRAGMENT, Datagram

__all__ = ["MAX_DATA", "REASSEMBLY_TIME", "Reassembly"]

REASSEMBLY_TIME = 10.0
"""
Seconds that a sequence has from its first fragment on; RFC 1928 wants 5 or more.
"""

MAX_DATA = 65_527
"""
Bytes that one UDP datagram can carry.
"""


class Reassembly:
    """
    The one sequence of an association that is under way, if there is one.  A
    datagram that stands alone is none of it, and does not disturb it.

    @ivar dropped: how many fragments will never be passed on.
    """

    __slots__ = ("_address", "_kept", "_size", "_startedAt", "dropped")

    _address: Address
    _startedAt: float

    def __init__(self) -> None:
        self.dropped = 0
        self._kept: list[bytes] = []
        self._size = 0

    def add(self, fragment: Datagram, now: float) -> Datagram | None:
        """
        @param fragment: one that does not stand alone.
        @param now: in seconds, of any clock that never goes back.
        @return: the whole, once this was the last part of it.
        """
        position = fragment.fragment & ~LAST_FRAGMENT
        if position == 1:
            self._abandon()
            self._address = fragment.address
            self._startedAt = now
        elif (
            position != len(self._kept) + 1
            or fragment.address != self._address
            or now - self._startedAt > REASSEMBLY_TIME
        ):
            self._abandon()
            self.dropped += 1
            return None
        self._kept.append(fragment.data)
        self._size += len(fragment.data)
        if self._size > MAX_DATA:
            self._abandon()
        elif fragment.fragment & LAST_FRAGMENT:
            whole = Datagram(self._address, b"".join(self._kept))
            self._kept.clear()
            self._size = 0
            return whole
        return None

    def _abandon(self) -> None:
        self.dropped += len(self._kept)
        self._kept.clear()
        self._size = 0
