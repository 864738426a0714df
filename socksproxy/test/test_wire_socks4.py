"""
Tests for L{socksproxy.wire.socks4}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.test.test_wire_address import addresses
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import AddressType, ReplyCode
from socksproxy.wire.errors import RemoteProtocolError
from socksproxy.wire.socks4 import Code, Reply, Request

V4 = Address.ip("192.0.2.1", 80)
NAMED = Address.name("example.org", 443)
V6 = Address.ip("2001:db8::1", 80)

REQUESTS = (
    (Request(1, V4), b"\x04\x01\x00\x50\xc0\x00\x02\x01\x00"),
    (Request(2, V4, b"ann"), b"\x04\x02\x00\x50\xc0\x00\x02\x01ann\x00"),
    (Request(1, NAMED), b"\x04\x01\x01\xbb\0\0\0\x01\x00example.org\x00"),
    (Request(1, NAMED, b"ann"), b"\x04\x01\x01\xbb\0\0\0\x01ann\x00example.org\x00"),
    (Request(1, V6), b"\x04\x01\x00\x50\0\0\0\x01\x002001:db8::1\x00"),
    (Request(255, Address.UNSPECIFIED), b"\x04\xff\0\0\0\0\0\0\0"),
    (
        Request(1, V4, b"u" * 255),
        b"\x04\x01\x00\x50\xc0\x00\x02\x01" + b"u" * 255 + b"\0",
    ),
    (
        Request(1, Address.name(b"x." * 127 + b"x", 1), b"u" * 255),
        b"\x04\x01\x00\x01\0\0\0\x01" + b"u" * 255 + b"\0" + b"x." * 127 + b"x\0",
    ),
)
"""
Requests, and their bytes as the notes have them.
"""

REPLIES = (
    (Reply(Code.GRANTED, V4), b"\x00\x5a\x00\x50\xc0\x00\x02\x01"),
    (Reply(Code.REFUSED), b"\x00\x5b\0\0\0\0\0\0"),
)

requests = st.builds(
    Request,
    st.integers(0, 255),
    addresses,
    st.binary(max_size=255).map(lambda data: data.replace(b"\0", b"\1")),
)

replies = st.builds(
    Reply,
    st.sampled_from(Code),
    addresses.filter(lambda address: address.type == AddressType.IPV4),
)


class RequestTests(SynchronousTestCase):
    """
    What a client sends.
    """

    def test_onTheWire(self) -> None:
        """
        The bytes are those of the notes on SOCKS4 and SOCKS4a.
        """
        for message, data in REQUESTS:
            self.assertEqual(message.encode(), data)
            self.assertEqual(Request.parse(ReceiveBuffer(data)), message)

    def test_everySplit(self) -> None:
        """
        Wherever the bytes are cut: the first part is left alone, and with the
        rest comes the message; bytes behind it stay.
        """
        for message, data in REQUESTS:
            for cut in range(len(data)):
                buffer = ReceiveBuffer(data[:cut])
                self.assertIsNone(Request.parse(buffer))
                self.assertEqual(len(buffer), cut)
                buffer.feed(data[cut:] + b"\0rest")
                self.assertEqual(Request.parse(buffer), message)
                self.assertEqual(buffer.takeAll(), b"\0rest")

    def test_byteByByte(self) -> None:
        """
        One byte at a time, asked after each, the message comes with its last.
        """
        for message, data in REQUESTS:
            buffer = ReceiveBuffer()
            came = []
            for octet in data:
                buffer.feed(bytes((octet,)))
                came.append(Request.parse(buffer))
            self.assertEqual(came, [None] * (len(data) - 1) + [message])

    def test_wrongVersion(self) -> None:
        """
        Another version is refused with its first byte.
        """
        for version in sorted(set(range(256)) - {4}):
            self.assertRaises(
                RemoteProtocolError, Request.parse, ReceiveBuffer(bytes((version,)))
            )

    def test_userIdDoesNotEnd(self) -> None:
        """
        A user id of more than 255 bytes is refused with the byte that is too many:
        nobody has to keep what never ends.
        """
        buffer = ReceiveBuffer(REQUESTS[0][1][:8] + b"u" * 255)
        self.assertIsNone(Request.parse(buffer))
        buffer.feed(b"u")
        self.assertRaises(RemoteProtocolError, Request.parse, buffer)

    def test_nameDoesNotEnd(self) -> None:
        """
        So is a name.
        """
        for userId in (b"", b"u" * 255):
            buffer = ReceiveBuffer(
                b"\x04\x01\x00\x50\0\0\0\x01" + userId + b"\0" + b"x" * 255
            )
            self.assertIsNone(Request.parse(buffer))
            buffer.feed(b"x")
            self.assertRaises(RemoteProtocolError, Request.parse, buffer)

    def test_longUserIdBeforeTheEnd(self) -> None:
        """
        A user id is too long also where its end has come.
        """
        data = REQUESTS[0][1][:8] + b"u" * 256 + b"\0"
        self.assertRaises(RemoteProtocolError, Request.parse, ReceiveBuffer(data))

    def test_impossibleName(self) -> None:
        """
        A name that cannot be one is told as in SOCKS5.
        """
        for name in (b"", b"x" * 64):
            data = b"\x04\x01\x00\x50\0\0\0\x01\0" + name + b"\0"
            wrong = self.assertRaises(
                RemoteProtocolError, Request.parse, ReceiveBuffer(data)
            )
            self.assertEqual(wrong.reply, ReplyCode.HOST_UNREACHABLE)

    def test_literalAsName(self) -> None:
        """
        The text of an address, sent as a name, is that address.
        """
        for text, expected in ((b"192.0.2.1", V4), (b"[2001:db8::1]", V6)):
            data = b"\x04\x01\x00\x50\0\0\0\xff\0" + text + b"\0"
            message = Request.parse(ReceiveBuffer(data))
            assert message is not None
            self.assertEqual(message.destination, expected)

    @settings(deadline=None, max_examples=300)
    @given(requests, st.binary(max_size=9))
    def test_roundTrip(self, message: Request, rest: bytes) -> None:
        """
        Parsing what was encoded gives the same message, and nothing behind it
        is lost.
        """
        buffer = ReceiveBuffer(message.encode() + rest)
        self.assertEqual(Request.parse(buffer), message)
        self.assertEqual(buffer.takeAll(), rest)

    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=600))
    def test_anything(self, data: bytes) -> None:
        """
        Whatever comes is a message, an error, or not enough yet; and not enough is
        never very much.
        """
        buffer = ReceiveBuffer(b"\x04\x01" + data)
        try:
            message = Request.parse(buffer)
        except RemoteProtocolError:
            return
        if message is None:
            self.assertLess(len(buffer), 8 + 256 + 256)


class ReplyTests(SynchronousTestCase):
    """
    What it is answered.
    """

    def test_onTheWire(self) -> None:
        """
        The bytes are those of the notes.
        """
        for message, data in REPLIES:
            self.assertEqual(message.encode(), data)
            self.assertEqual(Reply.parse(ReceiveBuffer(data)), message)

    def test_everySplit(self) -> None:
        """
        Wherever the bytes are cut.
        """
        for message, data in REPLIES:
            for cut in range(len(data)):
                buffer = ReceiveBuffer(data[:cut])
                self.assertIsNone(Reply.parse(buffer))
                buffer.feed(data[cut:] + b"rest")
                self.assertEqual(Reply.parse(buffer), message)
                self.assertEqual(buffer.takeAll(), b"rest")

    def test_notIPv4(self) -> None:
        """
        What is no IPv4 address is the proxy's own, whatever that is; the port is
        told.
        """
        for address in (V6, Address.name("example.org", 80)):
            self.assertEqual(
                Reply(Code.GRANTED, address).encode(), b"\0\x5a\0\x50\0\0\0\0"
            )

    def test_wrong(self) -> None:
        """
        Another version, or a code that is not one, is refused.
        """
        for data in (b"\x04", b"\0\x59" + bytes(6), b"\0\x5e" + bytes(6)):
            self.assertRaises(RemoteProtocolError, Reply.parse, ReceiveBuffer(data))

    @settings(deadline=None, max_examples=100)
    @given(replies, st.binary(max_size=9))
    def test_roundTrip(self, message: Reply, rest: bytes) -> None:
        """
        Parsing what was encoded gives the same.
        """
        buffer = ReceiveBuffer(message.encode() + rest)
        self.assertEqual(Reply.parse(buffer), message)
        self.assertEqual(buffer.takeAll(), rest)
