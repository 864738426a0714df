"""
Tests for L{socksproxy.wire.gssapi}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.errors import RemoteProtocolError
from socksproxy.wire.gssapi import ABORT, MAX_TOKEN, Frame, MessageType

FRAMES = [
    (b"\x01\x01\x00\x05token", Frame(MessageType.AUTHENTICATION, b"token")),
    (b"\x01\x02\x00\x01\x02", Frame(MessageType.PROTECTION_LEVEL, b"\x02")),
    (b"\x01\x03\x01\x00" + bytes(256), Frame(MessageType.ENCAPSULATION, bytes(256))),
    (b"\x01\xff", Frame(MessageType.ABORT)),
]


class FrameTests(SynchronousTestCase):
    """
    C{VER MTYP LEN TOKEN}.
    """

    def test_bytes(self) -> None:
        """
        Each frame has its bytes, and the other way round.
        """
        for encoded, frame in FRAMES:
            self.assertEqual(frame.encode(), encoded)
            self.assertEqual(Frame.parse(ReceiveBuffer(encoded)), frame)

    def test_abort(self) -> None:
        """
        Whoever gives up says so in two bytes.
        """
        self.assertEqual(ABORT, b"\x01\xff")

    def test_everySplit(self) -> None:
        """
        A frame that is not whole is left alone, wherever it is cut; what follows
        a whole one is too.
        """
        for encoded, frame in FRAMES:
            for split in range(len(encoded)):
                received = ReceiveBuffer(encoded[:split])
                self.assertIsNone(Frame.parse(received))
                self.assertEqual(len(received), split)
                received.feed(encoded[split:] + b"\x05more")
                self.assertEqual(Frame.parse(received), frame)
                self.assertEqual(received.takeAll(), b"\x05more")

    def test_longest(self) -> None:
        """
        A token has 65535 bytes at the most, which is what a frame can say.
        """
        frame = Frame(MessageType.ENCAPSULATION, bytes(MAX_TOKEN))
        encoded = frame.encode()
        self.assertEqual(encoded[:4], b"\x01\x03\xff\xff")
        self.assertEqual(Frame.parse(ReceiveBuffer(encoded)), frame)
        for size in (0, MAX_TOKEN + 1):
            with self.assertRaises(ValueError):
                Frame(MessageType.ENCAPSULATION, bytes(size)).encode()

    def assertWrong(self, data: bytes) -> None:
        """
        C{data} cannot become a frame, whatever follows.
        """
        for more in (b"", b"\x01\x01\x00\x01x"):
            with self.assertRaises(RemoteProtocolError):
                Frame.parse(ReceiveBuffer(data + more))

    def test_wrongVersion(self) -> None:
        """
        The first byte tells what is no frame: nobody waits for more of it.
        """
        for version in (0, 2, 5, 255):
            self.assertWrong(bytes((version,)))

    def test_unknownType(self) -> None:
        """
        So does the second one.
        """
        for type in (0, 4, 0x80, 0xFE):
            self.assertWrong(bytes((1, type)))

    def test_empty(self) -> None:
        """
        A token is never empty.
        """
        for type in (1, 2, 3):
            self.assertWrong(bytes((1, type, 0, 0)))

    def test_secret(self) -> None:
        """
        What a frame carries is nobody's business.
        """
        self.assertNotIn("ticket", repr(Frame(MessageType.AUTHENTICATION, b"ticket")))

    @given(st.sampled_from([1, 2, 3]), st.binary(min_size=1, max_size=70), st.binary())
    def test_roundTrip(self, type: int, token: bytes, behind: bytes) -> None:
        """
        What is encoded is parsed as what it was.
        """
        frame = Frame(type, token)
        received = ReceiveBuffer(frame.encode() + behind)
        self.assertEqual(Frame.parse(received), frame)
        self.assertEqual(received.takeAll(), behind)

    @given(st.binary(max_size=12))
    def test_anything(self, data: bytes) -> None:
        """
        Whatever comes, it is a frame, the beginning of one, or wrong.
        """
        received = ReceiveBuffer(data)
        try:
            frame = Frame.parse(received)
        except RemoteProtocolError:
            return
        if frame is None:
            self.assertEqual(received.takeAll(), data)
        else:
            self.assertEqual(frame.encode() + received.takeAll(), data)
