"""
Tests for L{socksproxy.wire.buffer} and L{socksproxy.wire.errors}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import ReplyCode
from socksproxy.wire.errors import RemoteProtocolError


class ReceiveBufferTests(SynchronousTestCase):
    """
    Bytes in order, taken exactly or not at all.
    """

    def test_empty(self) -> None:
        """
        An empty buffer has no bytes to give, and gives no bytes when asked
        for none.
        """
        buffer = ReceiveBuffer()
        self.assertEqual(len(buffer), 0)
        self.assertIsNone(buffer.peek(1))
        self.assertIsNone(buffer.take(1))
        self.assertEqual(buffer.peek(0), b"")
        self.assertEqual(buffer.take(0), b"")
        self.assertEqual(buffer.takeAll(), b"")

    def test_peekLeaves(self) -> None:
        """
        What is peeked at stays, and is what is taken next.
        """
        buffer = ReceiveBuffer(b"abc")
        self.assertEqual(buffer.peek(2), b"ab")
        self.assertEqual(len(buffer), 3)
        self.assertEqual(buffer.take(2), b"ab")
        self.assertEqual(buffer.peek(1), b"c")

    def test_takeTooMany(self) -> None:
        """
        Asked for more than there is, it gives nothing and keeps everything,
        also when some was taken before.
        """
        buffer = ReceiveBuffer(b"abc")
        buffer.take(1)
        self.assertIsNone(buffer.take(3))
        self.assertIsNone(buffer.peek(3))
        self.assertEqual(len(buffer), 2)
        self.assertEqual(buffer.takeAll(), b"bc")

    def test_takeAll(self) -> None:
        """
        C{takeAll} leaves nothing, and the buffer goes on to be used.
        """
        buffer = ReceiveBuffer(b"abc")
        buffer.take(1)
        self.assertEqual(buffer.takeAll(), b"bc")
        self.assertEqual(len(buffer), 0)
        buffer.feed(b"d")
        self.assertEqual(buffer.takeAll(), b"d")

    def test_limit(self) -> None:
        """
        It holds C{limit} bytes and not one more; what it refuses is not added,
        and what was taken does not count.
        """
        buffer = ReceiveBuffer(limit=4)
        buffer.feed(b"abcd")
        wrong = self.assertRaises(RemoteProtocolError, buffer.feed, b"e")
        self.assertEqual(wrong.reply, ReplyCode.GENERAL_FAILURE)
        self.assertEqual(buffer.take(3), b"abc")
        buffer.feed(b"efg")
        self.assertEqual(buffer.takeAll(), b"defg")
        self.assertRaises(RemoteProtocolError, buffer.feed, b"abcde")
        self.assertEqual(len(buffer), 0)

    def test_boundedByDefault(self) -> None:
        """
        There is a limit when none is given.
        """
        buffer = ReceiveBuffer()
        buffer.feed(bytes(buffer.limit))
        self.assertRaises(RemoteProtocolError, buffer.feed, b"x")

    @settings(deadline=None)
    @given(st.lists(st.one_of(st.binary(max_size=9), st.integers(0, 9))))
    def test_model(self, steps: list[bytes | int]) -> None:
        """
        Whatever is fed and taken in whichever order: it behaves as a byte
        string whose front is cut off.
        """
        buffer, model = ReceiveBuffer(), b""
        for step in steps:
            if isinstance(step, bytes):
                buffer.feed(step)
                model += step
            else:
                expected = model[:step] if step <= len(model) else None
                self.assertEqual(buffer.peek(step), expected)
                self.assertEqual(buffer.take(step), expected)
                if expected is not None:
                    model = model[step:]
            self.assertEqual(len(buffer), len(model))
        self.assertEqual(buffer.takeAll(), model)
