"""
Tests for L{socksproxy.relay.pipes}.
"""

from __future__ import annotations

import errno
import fcntl
import os

from twisted.trial.unittest import SynchronousTestCase

from socksproxy.relay.pipes import CAPACITY, PipePool


class PipePoolTests(SynchronousTestCase):
    """
    Pipes are taken and given back.
    """

    def isOpen(self, descriptor: int) -> bool:
        """
        Whether a descriptor is in use.
        """
        try:
            os.fstat(descriptor)
        except OSError:
            return False
        return True

    def test_takesAnOldOne(self) -> None:
        """
        A pipe that was given back is taken before a new one is made; each is
        non-blocking.
        """
        pool = PipePool()
        pipe = pool.take()
        assert pipe is not None
        self.assertEqual(pool.taken, 1)
        self.assertRaises(BlockingIOError, os.read, pipe[0], 1)
        pool.give(pipe)
        self.assertEqual(pool.taken, 0)
        self.assertEqual(pool.take(), pipe)
        pool.discard(pipe)
        self.assertFalse(self.isOpen(pipe[0]) or self.isOpen(pipe[1]))

    def test_bounds(self) -> None:
        """
        There are only so many at a time, and fewer that are kept.
        """
        pool = PipePool(most=3, idle=1)
        pipes = [pool.take() for _ in range(3)]
        self.assertIsNone(pool.take())
        for pipe in pipes:
            assert pipe is not None
            pool.give(pipe)
        self.assertEqual(pool.taken, 0)
        kept = [pipe for pipe in pipes if pipe and self.isOpen(pipe[0])]
        self.assertEqual(kept, pipes[:1])
        last = pool.take()
        assert last is not None
        pool.discard(last)

    def test_noDescriptors(self) -> None:
        """
        Without descriptors there is none, and nothing is counted.
        """

        def exhausted(flags: int) -> tuple[int, int]:
            raise OSError(errno.EMFILE, "none left")

        self.patch(os, "pipe2", exhausted)
        pool = PipePool()
        self.assertIsNone(pool.take())
        self.assertEqual(pool.taken, 0)

    def test_smallerOnes(self) -> None:
        """
        A system that gives no large pipes gives small ones.
        """

        def refusing(descriptor: int, command: int, argument: int) -> int:
            self.assertEqual(argument, CAPACITY)
            raise PermissionError

        self.patch(fcntl, "fcntl", refusing)
        pool = PipePool()
        pipe = pool.take()
        assert pipe is not None
        os.write(pipe[1], b"x")
        self.assertEqual(os.read(pipe[0], 2), b"x")
        pool.discard(pipe)
