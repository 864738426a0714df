"""
Tests for L{socksproxy.wire.socks4}.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.test.test_wire_address import addresses, ports
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command
from socksproxy.wire.errors import RemoteProtocolError
from socksproxy.wire.socks4 import Reply, ReplyCode, Request

V4 = Address.ip("192.0.2.1", 80)
NAMED = Address.name("example.org", 443)

ON_THE_WIRE: tuple[tuple[Request | Reply, bytes], ...] = (
    (Request(Command.CONNECT, V4), b"\x04\x01\0\x50\xc0\0\x02\x01\0"),
    (Request(Command.BIND, V4, b"ann"), b"\x04\x02\0\x50\xc0\0\x02\x01ann\0"),
    (Request(0xFE, NAMED), b"\x04\xfe\x01\xbb\0\0\0\x01\0example.org\0"),
    (
        Request(Command.CONNECT, NAMED, b"a" * 255),
        b"\x04\x01\x01\xbb\0\0\0\x01" + b"a" * 255 + b"\0example.org\0",
    ),
    (Request(Command.BIND, Address.UNSPECIFIED), b"\x04\x02" + bytes(7)),
    (Reply(ReplyCode.GRANTED, V4), b"\0\x5a\0\x50\xc0\0\x02\x01"),
    (Reply(ReplyCode.REJECTED), b"\0\x5b" + bytes(6)),
    (Reply(ReplyCode.OTHER_USER), b"\0\x5d" + bytes(6)),
)
"""
Messages, and their bytes as the notes on SOCKS4 and 4a have them.
"""

userIds = st.binary(max_size=255).filter(lambda data: b"\0" not in data)

messages = st.one_of(
    st.builds(Request, st.integers(0, 255), addresses, userIds),
    st.builds(
        Reply,
        st.sampled_from(ReplyCode),
        st.builds(Address.ip, st.ip_addresses(v=4).map(str), ports),
    ),
)


class MessageTests(SynchronousTestCase):
    """
    What holds for both messages.
    """

    def test_onTheWire(self) -> None:
        """
        The bytes are those of the notes.
        """
        for message, data in ON_THE_WIRE:
            self.assertEqual(message.encode(), data)
            self.assertEqual(type(message).parse(ReceiveBuffer(data)), message)

    def test_everySplit(self) -> None:
        """
        Wherever the bytes are cut: the first part is left alone, and with the
        rest comes the message; bytes behind it stay.
        """
        for message, data in ON_THE_WIRE:
            for cut in range(len(data)):
                buffer = ReceiveBuffer(data[:cut])
                self.assertIsNone(type(message).parse(buffer))
                self.assertEqual(len(buffer), cut)
                buffer.feed(data[cut:] + b"rest")
                self.assertEqual(type(message).parse(buffer), message)
                self.assertEqual(buffer.takeAll(), b"rest")

    def test_wrongVersion(self) -> None:
        """
        A version that is not the message's is refused as soon as it is there,
        whatever follows.
        """
        kinds: tuple[tuple[type[Request] | type[Reply], int], ...] = (
            (Request, 4),
            (Reply, 0),
        )
        for kind, right in kinds:
            for version in sorted(set(range(256)) - {right}):
                for rest in (b"", b"\x5a", b"\x5a" * 20):
                    buffer = ReceiveBuffer(bytes((version,)) + rest)
                    self.assertRaises(RemoteProtocolError, kind.parse, buffer)

    @settings(deadline=None, max_examples=300)
    @given(messages, st.binary(max_size=9))
    def test_roundTrip(self, message: Request | Reply, rest: bytes) -> None:
        """
        Parsing what was encoded gives the same message, and nothing behind it
        is lost.
        """
        buffer = ReceiveBuffer(message.encode() + rest)
        self.assertEqual(type(message).parse(buffer), message)
        self.assertEqual(buffer.takeAll(), rest)

    @settings(deadline=None, max_examples=500)
    @given(
        st.sampled_from((Request, Reply)),
        st.one_of(
            st.binary(max_size=40),
            st.binary(max_size=40).map(lambda data: b"\x04\x01\0\x50" + data),
            st.binary(max_size=40).map(lambda data: b"\0\x5a" + data),
        ),
    )
    def test_garbage(self, kind: type[Request] | type[Reply], data: bytes) -> None:
        """
        Any bytes give a message, or L{None} with nothing taken, or
        L{RemoteProtocolError}, and nothing else.
        """
        buffer = ReceiveBuffer(data)
        try:
            message = kind.parse(buffer)
        except RemoteProtocolError:
            return
        if message is None:
            self.assertEqual(len(buffer), len(data))
        else:
            again = kind.parse(ReceiveBuffer(message.encode()))
            self.assertEqual(again, message)


class RequestTests(SynchronousTestCase):
    """
    What only L{Request} does.
    """

    def test_bounds(self) -> None:
        """
        What does not come to an end is refused as soon as it is too long.
        """
        for start in (b"\x04\x01\0\x50\xc0\0\x02\x01", b"\x04\x01\0\x50\0\0\0\x01x\0"):
            buffer = ReceiveBuffer(start + b"x" * 255)
            self.assertIsNone(Request.parse(buffer))
            for rest in (b"", b"\0", b"x\0\0"):
                buffer = ReceiveBuffer(start + b"x" * 256 + rest)
                self.assertRaises(RemoteProtocolError, Request.parse, buffer)

    def test_impossibleName(self) -> None:
        """
        A name that is empty, or has too long a label, is refused.
        """
        for name in (b"", b"x" * 64):
            buffer = ReceiveBuffer(b"\x04\x01\0\x50\0\0\0\x01\0" + name + b"\0")
            self.assertRaises(RemoteProtocolError, Request.parse, buffer)

    def test_addressesThatTravelAsNames(self) -> None:
        """
        An IPv6 address, and an IPv4 address that would be taken for the mark of
        a name, arrive all the same.
        """
        for host in ("2001:db8::1", "0.0.0.7"):
            request = Request(Command.CONNECT, Address.ip(host, 80))
            self.assertEqual(
                request.encode(), b"\x04\x01\0\x50\0\0\0\x01\0" + host.encode() + b"\0"
            )
            self.assertEqual(Request.parse(ReceiveBuffer(request.encode())), request)


class ReplyTests(SynchronousTestCase):
    """
    What only L{Reply} does.
    """

    def test_unknownCode(self) -> None:
        """
        A code that is not one of a reply is refused as soon as it is there.
        """
        for code in sorted(set(range(256)) - set(ReplyCode)):
            for rest in (b"", bytes(6)):
                buffer = ReceiveBuffer(bytes((0, code)) + rest)
                self.assertRaises(RemoteProtocolError, Reply.parse, buffer)

    def test_codeIsReplyCode(self) -> None:
        """
        The code that was parsed is a L{ReplyCode}.
        """
        parsed = Reply.parse(ReceiveBuffer(Reply(ReplyCode.NO_IDENTD).encode()))
        assert parsed is not None
        self.assertIs(parsed.code, ReplyCode.NO_IDENTD)
