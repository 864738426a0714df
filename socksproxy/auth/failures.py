"""
How many logins have failed.
"""

from __future__ import annotations

from heapq import nsmallest

from twisted.internet.interfaces import IReactorTime

__all__ = ["SIZE", "Failures"]

SIZE = 10_000
"""
Keys that are counted for at a time.
"""


class Failures:
    """
    A bounded table of counts, by whatever key.  When it is full those with the
    fewest failures are forgotten, of equals the oldest: who wants to be forgotten
    would have to fail as often as that under nearly as many keys as there is room
    for.
    """

    def __init__(self, clock: IReactorTime, lasting: float, size: int = SIZE) -> None:
        """
        @param lasting: seconds after its last failure for which a key is
            remembered.
        """
        self._clock = clock
        self._lasting = lasting
        self._size = size
        self._counts: dict[bytes | str, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def __contains__(self, key: bytes | str) -> bool:
        """
        Whether there may be any: this is the quickest way to learn that there are
        none.
        """
        return key in self._counts

    def of(self, key: bytes | str) -> tuple[int, float]:
        """
        @return: how many there were, and when the last one was.
        """
        found = self._counts.get(key)
        if found is None:
            return 0, 0.0
        if found[1] + self._lasting <= self._clock.seconds():
            del self._counts[key]
            return 0, 0.0
        return found

    def add(self, key: bytes | str) -> int:
        """
        One more.

        @return: how many there are now.
        """
        count = self.of(key)[0] + 1
        if key not in self._counts and len(self._counts) >= self._size:
            self._makeRoom()
        self._counts[key] = (count, self._clock.seconds())
        return count

    def clear(self, key: bytes | str) -> None:
        """
        Forget them.
        """
        self._counts.pop(key, None)

    def _makeRoom(self) -> None:
        """
        For several at once, so that not each new key has to look at all.
        """
        for key, _ in nsmallest(
            max(1, self._size // 10), self._counts.items(), key=lambda item: item[1]
        ):
            del self._counts[key]
