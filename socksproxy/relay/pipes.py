"""
Pipes for L{os.splice}, taken when there is something to move and given back
when it is moved.
"""

from __future__ import annotations

import fcntl
import os

__all__ = ["Pipe", "PipePool"]

CAPACITY = 1 << 20
"""
Bytes that a pipe is asked to hold; the system may give it less.
"""

F_SETPIPE_SZ = 1031  # linux/fcntl.h; in the fcntl module from Python 3.10 on Linux

Pipe = tuple[int, int]
"""
The descriptor to read from, and the one to write to.
"""


class PipePool:
    """
    Empty pipes.

    @ivar taken: how many are out.
    """

    def __init__(self, most: int = 256, idle: int = 32) -> None:
        """
        @param most: how many may be out at a time.
        @param idle: how many are kept while nobody wants them.
        """
        self._most = most
        self._idle = idle
        self._pipes: list[Pipe] = []
        self.taken = 0

    def take(self) -> Pipe | None:
        """
        @return: an empty pipe; L{None}: there are too many out, or the system
            does not give another.
        """
        if self.taken >= self._most:
            return None
        if self._pipes:
            pipe = self._pipes.pop()
        else:
            try:
                pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                return None
            try:
                fcntl.fcntl(pipe[1], F_SETPIPE_SZ, CAPACITY)
            except OSError:
                pass  # Beyond what this user may have: it is smaller then.
        self.taken += 1
        return pipe

    def give(self, pipe: Pipe) -> None:
        """
        Take an empty pipe back.
        """
        if len(self._pipes) < self._idle:
            self.taken -= 1
            self._pipes.append(pipe)
        else:
            self.discard(pipe)

    def discard(self, pipe: Pipe) -> None:
        """
        Take back one that is not empty, or not wanted any more: it is closed.
        """
        self.taken -= 1
        os.close(pipe[0])
        os.close(pipe[1])
