"""
Tests for L{socksproxy.wire.socks5} and L{socksproxy.wire.constants}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Protocol

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.test.test_wire_address import addresses
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command, Method, ReplyCode
from socksproxy.wire.errors import RemoteProtocolError
from socksproxy.wire.socks5 import (
    LAST_FRAGMENT,
    Datagram,
    Greeting,
    Login,
    LoginAnswer,
    Reply,
    Request,
    Selection,
)


class Message(Protocol):
    """
    What all messages have in common.
    """

    @classmethod
    def parse(cls, buffer: ReceiveBuffer) -> Message | None: ...

    def encode(self) -> bytes: ...


SOCKS5_MESSAGES: tuple[type[Message], ...] = (Greeting, Selection, Request, Reply)
LOGIN_MESSAGES: tuple[type[Message], ...] = (Login, LoginAnswer)

NAMED = Address.name("example.org", 443)
V4 = Address.ip("192.0.2.1", 80)
V6 = Address.ip("2001:db8::1", 80)

ON_THE_WIRE: tuple[tuple[Message, bytes], ...] = (
    (Greeting(b""), b"\x05\0"),
    (Greeting(b"\0"), b"\x05\x01\0"),
    (Greeting(b"\0\x02\xfe"), b"\x05\x03\0\x02\xfe"),
    (Greeting(bytes(range(255))), b"\x05\xff" + bytes(range(255))),
    (Selection(Method.USERNAME_PASSWORD), b"\x05\x02"),
    (Selection(Method.NO_ACCEPTABLE_METHODS), b"\x05\xff"),
    (Login(1, b"", b""), b"\x01\0\0"),
    (Login(1, b"ann", b""), b"\x01\x03ann\0"),
    (Login(1, b"", b"pw"), b"\x01\0\x02pw"),
    (Login(5, b"ann", b"s3cret"), b"\x05\x03ann\x06s3cret"),
    (Login(1, b"a\0\xff", b"p\0w"), b"\x01\x03a\0\xff\x03p\0w"),
    (Login(1, b"u" * 255, b"p" * 255), b"\x01\xff" + b"u" * 255 + b"\xff" + b"p" * 255),
    (LoginAnswer(1, 0), b"\x01\0"),
    (LoginAnswer(5, 1), b"\x05\x01"),
    (Request(Command.CONNECT, V4), b"\x05\x01\0\x01\xc0\0\x02\x01\0\x50"),
    (Request(Command.BIND, NAMED), b"\x05\x02\0\x03\x0bexample.org\x01\xbb"),
    (Request(0xFE, V6), b"\x05\xfe\0" + V6.encode()),
    (Reply(ReplyCode.SUCCEEDED, V6), b"\x05\0\0" + V6.encode()),
    (Reply(ReplyCode.SUCCEEDED, NAMED), b"\x05\0\0" + NAMED.encode()),
    (Reply(ReplyCode.CONNECTION_REFUSED), b"\x05\x05\0\x01\0\0\0\0\0\0"),
)
"""
Messages, and their bytes as the RFCs have them.
"""

octets = st.integers(0, 255)
loginVersions = st.sampled_from((1, 5))
strings = st.binary(max_size=255)

messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Greeting, strings),
    st.builds(Selection, octets),
    st.builds(Login, loginVersions, strings, strings),
    st.builds(LoginAnswer, loginVersions, octets),
    st.builds(Request, octets, addresses),
    st.builds(Reply, st.sampled_from(ReplyCode), addresses),
)


class MessageTests(SynchronousTestCase):
    """
    What holds for each message.
    """

    def test_onTheWire(self) -> None:
        """
        The bytes are those of RFC 1928 and RFC 1929.
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
                buffer = ReceiveBuffer()
                buffer.feed(data[:cut])
                self.assertIsNone(type(message).parse(buffer))
                self.assertEqual(len(buffer), cut)
                buffer.feed(data[cut:] + b"rest")
                self.assertEqual(type(message).parse(buffer), message)
                self.assertEqual(buffer.takeAll(), b"rest")

    def test_byteByByte(self) -> None:
        """
        One byte at a time, asked after each, the message comes with its last.
        """
        for message, data in ON_THE_WIRE:
            buffer = ReceiveBuffer()
            came = []
            for octet in data:
                buffer.feed(bytes((octet,)))
                came.append(type(message).parse(buffer))
            self.assertEqual(came, [None] * (len(data) - 1) + [message])

    def test_wrongVersion(self) -> None:
        """
        A version that is not the message's is refused as soon as it is there,
        whatever follows.
        """
        for kinds, right in ((SOCKS5_MESSAGES, {5}), (LOGIN_MESSAGES, {1, 5})):
            for kind in kinds:
                for version in sorted(set(range(256)) - right):
                    for rest in (b"", b"\0", b"\x01" * 20):
                        buffer = ReceiveBuffer(bytes((version,)) + rest)
                        self.assertRaises(RemoteProtocolError, kind.parse, buffer)

    @settings(deadline=None, max_examples=300)
    @given(messages, st.binary(max_size=9))
    def test_roundTrip(self, message: Message, rest: bytes) -> None:
        """
        Parsing what was encoded gives the same message, and nothing behind it
        is lost.
        """
        buffer = ReceiveBuffer(message.encode() + rest)
        self.assertEqual(type(message).parse(buffer), message)
        self.assertEqual(buffer.takeAll(), rest)

    @settings(deadline=None, max_examples=500)
    @given(
        st.sampled_from(SOCKS5_MESSAGES + LOGIN_MESSAGES),
        st.one_of(
            st.binary(max_size=40),
            st.binary(max_size=40).map(lambda data: b"\x05" + data),
            st.binary(max_size=40).map(lambda data: b"\x05\x01\0" + data),
        ),
    )
    def test_garbage(self, kind: type[Message], data: bytes) -> None:
        """
        Any bytes give a message, or L{None} with nothing taken, or
        L{RemoteProtocolError}, and nothing else.
        """
        buffer = ReceiveBuffer(data)
        try:
            message = kind.parse(buffer)
        except RemoteProtocolError as wrong:
            self.assertIn(wrong.reply, (1, 4, 8))
        else:
            if message is None:
                self.assertEqual(len(buffer), len(data))
            else:
                again = kind.parse(ReceiveBuffer(message.encode()))
                self.assertEqual(again, message)


class LoginTests(SynchronousTestCase):
    """
    L{Login} keeps a secret.
    """

    def test_noPasswordInRepr(self) -> None:
        """
        The password is in no text of the message; the name is.
        """
        login = Login(1, b"ann", b"s3cret")
        for text in (repr(login), str(login), f"{login}", f"{[login]}"):
            self.assertNotIn("s3cret", text)
            self.assertIn("ann", text)


class RequestTests(SynchronousTestCase):
    """
    What only L{Request} does.
    """

    def test_reservedIgnored(self) -> None:
        """
        It does not matter what a client puts into RSV.
        """
        for reserved in (1, 5, 255):
            data = b"\x05\x01" + bytes((reserved,)) + V4.encode()
            parsed = Request.parse(ReceiveBuffer(data))
            self.assertEqual(parsed, Request(Command.CONNECT, V4))

    def test_unknownAddressType(self) -> None:
        """
        An unknown ATYP is refused with reply 08 as soon as it is there.
        """
        for rest in (b"", b"\0", bytes(20)):
            buffer = ReceiveBuffer(b"\x05\x01\0\x02" + rest)
            wrong = self.assertRaises(RemoteProtocolError, Request.parse, buffer)
            self.assertEqual(wrong.reply, ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED)

    def test_emptyName(self) -> None:
        """
        A name of no length is refused with reply 04, not taken for this host.
        """
        buffer = ReceiveBuffer(b"\x05\x01\0\x03\0\0\x50")
        wrong = self.assertRaises(RemoteProtocolError, Request.parse, buffer)
        self.assertEqual(wrong.reply, ReplyCode.HOST_UNREACHABLE)


class ReplyTests(SynchronousTestCase):
    """
    What only L{Reply} does.
    """

    def test_reservedIsZero(self) -> None:
        """
        RSV is 00 whatever the code, and no code is above 08: real clients
        check both.
        """
        for code in ReplyCode:
            data = Reply(code, V4).encode()
            self.assertEqual(data[:3], bytes((5, code, 0)))
            self.assertLessEqual(code, 8)

    def test_codeIsReplyCode(self) -> None:
        """
        The code that was parsed is a L{ReplyCode}.
        """
        parsed = Reply.parse(ReceiveBuffer(Reply(ReplyCode.TTL_EXPIRED).encode()))
        assert parsed is not None
        self.assertIs(parsed.code, ReplyCode.TTL_EXPIRED)
        self.assertEqual(parsed.bound, Address.UNSPECIFIED)

    def test_unassignedCode(self) -> None:
        """
        A code that is not assigned is refused as soon as it is there.
        """
        for code in range(9, 256):
            for rest in (b"", b"\0\x01" + bytes(6)):
                buffer = ReceiveBuffer(bytes((5, code)) + rest)
                self.assertRaises(RemoteProtocolError, Reply.parse, buffer)


datagrams = st.builds(
    Datagram,
    addresses,
    st.binary(max_size=300),
    octets.filter(lambda octet: octet != LAST_FRAGMENT),
)

DATAGRAMS = (
    (Datagram(V4, b""), b"\0\0\0\x01\xc0\0\x02\x01\0\x50"),
    (Datagram(V4, b"data", 0x81), b"\0\0\x81\x01\xc0\0\x02\x01\0\x50data"),
    (Datagram(V6, b"data", 0x7F), b"\0\0\x7f" + V6.encode() + b"data"),
    (Datagram(NAMED, b"\0"), b"\0\0\0\x03\x0bexample.org\x01\xbb\0"),
)


class DatagramTests(SynchronousTestCase):
    """
    L{Datagram}, whose ends are those of its packet.
    """

    def test_onTheWire(self) -> None:
        """
        The bytes are those of RFC 1928 section 7.
        """
        for datagram, packet in DATAGRAMS:
            self.assertEqual(datagram.encode(), packet)
            self.assertEqual(Datagram.parse(packet), datagram)
            size = len(packet) - len(datagram.data)
            self.assertEqual(Datagram.headerSize(packet), size)

    def test_everyCut(self) -> None:
        """
        One that ends within its header is refused, wherever that is.
        """
        for datagram, packet in DATAGRAMS:
            for cut in range(len(packet) - len(datagram.data)):
                self.assertRaises(RemoteProtocolError, Datagram.parse, packet[:cut])

    def test_largest(self) -> None:
        """
        The header may be as long as it can be, and the data too.
        """
        name = b".".join((b"x" * 63,) * 4)
        for data in (b"", bytes(65_000)):
            datagram = Datagram(Address.name(name, 53), data)
            self.assertEqual(Datagram.parse(datagram.encode()), datagram)

    def test_refused(self) -> None:
        """
        Unknown address types, impossible names, and the end of a sequence that
        says nothing of its position.
        """
        for packet in (
            b"\0\0\0\x02" + bytes(20),
            b"\0\0\0\0" + bytes(20),
            b"\0\0\0\x03\0\0\x50data",
            b"\0\0\0\x03\x03a\0b\0\x50data",
            b"\0\0\x80" + V4.encode() + b"data",
        ):
            self.assertRaises(RemoteProtocolError, Datagram.parse, packet)

    def test_reservedIgnored(self) -> None:
        """
        It does not matter what a client puts into RSV.
        """
        packet = b"\xff\x01\0" + V4.encode() + b"data"
        self.assertEqual(Datagram.parse(packet), Datagram(V4, b"data"))

    @settings(deadline=None, max_examples=300)
    @given(datagrams)
    def test_roundTrip(self, datagram: Datagram) -> None:
        """
        Parsing what was encoded gives the same datagram.
        """
        packet = datagram.encode()
        self.assertEqual(Datagram.parse(packet), datagram)
        size = len(packet) - len(datagram.data)
        self.assertEqual(Datagram.headerSize(packet), size)

    @settings(deadline=None, max_examples=500)
    @given(
        st.one_of(
            st.binary(max_size=40),
            st.binary(max_size=40).map(lambda data: b"\0\0\0\x01" + data),
            st.binary(max_size=40).map(lambda data: b"\0\0\x81\x03" + data),
            st.binary(max_size=40).map(lambda data: b"\0\0\x01\x04" + data),
        )
    )
    def test_garbage(self, packet: bytes) -> None:
        """
        Any bytes give a datagram or L{RemoteProtocolError}, and nothing else;
        C{headerSize} never says anything but what C{parse} does.
        """
        size = Datagram.headerSize(packet)
        try:
            datagram = Datagram.parse(packet)
        except RemoteProtocolError:
            pass
        else:
            self.assertEqual(packet[size:], datagram.data)
            self.assertEqual(Datagram.parse(datagram.encode()), datagram)
