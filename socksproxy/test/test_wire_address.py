"""
Tests for L{socksproxy.wire.address}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv6Address

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.wire.address import Address, printable
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import AddressType, ReplyCode
from socksproxy.wire.errors import RemoteProtocolError

IPV4 = Address(AddressType.IPV4, "192.0.2.1", 80)
IPV6 = Address(AddressType.IPV6, "2001:db8::1", 443)

LABEL_63 = b"x" * 63
NAME_255 = b".".join((LABEL_63,) * 4)

NAMES = (
    b"example.org",
    b"localhost",
    b"x",
    b"0",
    b"under_score._tcp.example.org",
    b"trailing.dot.",
    b"192.0.2.1.",
    "b\u00fccher.example".encode(),
    b"\xff\xfe.example",
    b"\xed\xb2\x80.example",
    b" a\r\nb\x1b",
    b"127.1",
    b"2130706433",
    b"0x7f.1",
    b"01.2.3.4",
    b"a:b",
    b"[",
    b"]",
    b"[]",
    b"[[::1]]",
    b"[example.org]",
    b"fe80::1%eth0",
    b"%",
    "\u00b2".encode(),
    "1.2.3.\u0664".encode(),
    LABEL_63,
    NAME_255,
)
"""
Names that stay names, as they were sent.
"""

LITERALS = (
    (b"192.0.2.1", AddressType.IPV4, "192.0.2.1"),
    (b"[192.0.2.1]", AddressType.IPV4, "192.0.2.1"),
    (b"2001:DB8:0::1", AddressType.IPV6, "2001:db8::1"),
    (b"[2001:db8::1]", AddressType.IPV6, "2001:db8::1"),
    (b"::", AddressType.IPV6, "::"),
    (b"[fe80::a]", AddressType.IPV6, "fe80::a"),
    (b"::ffff:192.0.2.1", AddressType.IPV4, "192.0.2.1"),
    (b"[::ffff:c000:201]", AddressType.IPV4, "192.0.2.1"),
)
"""
Names that are the text of an address: the name, and what it becomes.
"""

ports = st.integers(0, 65535)


def _isName(name: bytes) -> bool:
    try:
        return Address.name(name, 1).type == AddressType.NAME
    except RemoteProtocolError:
        return False


names = st.one_of(
    st.sampled_from(NAMES),
    st.text(min_size=1, max_size=60).map(lambda t: t.encode("utf-8", "ignore")),
    st.binary(min_size=1, max_size=63),
    st.lists(st.binary(min_size=1, max_size=63), min_size=1, max_size=4).map(b".".join),
).filter(_isName)

addresses = st.one_of(
    st.builds(Address.ip, st.ip_addresses().map(str), ports),
    st.builds(Address.name, names, ports),
)


def encodedName(name: bytes, port: int = 80) -> bytes:
    return bytes((3, len(name))) + name + port.to_bytes(2, "big")


class MakingTests(SynchronousTestCase):
    """
    L{Address.ip} and L{Address.name} bring an address into its one form.
    """

    def test_ip(self) -> None:
        """
        The text of an IPv4 or IPv6 address becomes that address, in its
        shortest form; a zone is left out.
        """
        for text, expected in (
            ("192.0.2.1", Address(AddressType.IPV4, "192.0.2.1", 7)),
            ("2001:0DB8::0:1", Address(AddressType.IPV6, "2001:db8::1", 7)),
            ("fe80::1%eth0", Address(AddressType.IPV6, "fe80::1", 7)),
        ):
            self.assertEqual(Address.ip(text, 7), expected)

    def test_ipIsNoName(self) -> None:
        """
        L{Address.ip} raises L{ValueError} for whatever is not an address.
        """
        for text in ("", "example.org", "127.1", "[::1]", "1.2.3.4.5", "%eth0"):
            self.assertRaises(ValueError, Address.ip, text, 7)

    def test_mapped(self) -> None:
        """
        An IPv4-mapped IPv6 address is the IPv4 address, from text and from the
        wire.
        """
        mapped = Address.ip("::ffff:192.0.2.1", 80)
        self.assertEqual(mapped, IPV4)
        packed = IPv6Address("::ffff:192.0.2.1").packed
        parsed = Address.parse(ReceiveBuffer(b"\x04" + packed + b"\0\x50"))
        self.assertEqual(parsed, IPV4)

    def test_names(self) -> None:
        """
        A name stays as it was sent, whichever bytes it holds: underscores, a
        trailing dot, UTF-8 and bytes that are not, up to 255 of them.
        """
        for name in NAMES:
            address = Address.name(name, 80)
            self.assertEqual(address.type, AddressType.NAME)
            self.assertEqual(address.host.encode("utf-8", "surrogateescape"), name)
            self.assertEqual(address.encode(), encodedName(name))
            self.assertEqual(Address.name(address.host, 80), address)

    def test_literals(self) -> None:
        """
        A name that is the text of an address, with brackets or without, is
        that address.
        """
        for name, kind, host in LITERALS:
            self.assertEqual(Address.name(name, 80), Address(kind, host, 80))
            parsed = Address.parse(ReceiveBuffer(encodedName(name)))
            self.assertEqual(parsed, Address(kind, host, 80))

    def test_impossibleNames(self) -> None:
        """
        A name that is empty, too long, or holds a NUL or a label of more than
        63 bytes is refused with reply 04.
        """
        for name in (
            b"",
            b"\0",
            b"example.org\0",
            b"192.0.2.1\0",
            LABEL_63 + b"x",
            b"a." + LABEL_63 + b"x.example.org",
            "\u00fc".encode() * 32,
            b"x" * 255,
            b"x." * 128,
        ):
            wrong = self.assertRaises(RemoteProtocolError, Address.name, name, 80)
            self.assertEqual(wrong.reply, ReplyCode.HOST_UNREACHABLE)

    def test_unspecified(self) -> None:
        """
        There is an address that says nothing: C{0.0.0.0:0}.
        """
        self.assertEqual(Address.UNSPECIFIED.encode(), b"\x01\0\0\0\0\0\0")


class ParseTests(SynchronousTestCase):
    """
    L{Address.parse} takes a whole address or nothing.
    """

    def test_everySplit(self) -> None:
        """
        Wherever the bytes are cut: the first part is left alone, and with the
        rest comes the address; bytes behind it stay.
        """
        for address in (IPV4, IPV6, *(Address.name(name, 65535) for name in NAMES)):
            for skip in (0, 3):
                data = bytes(skip) + address.encode()
                for cut in range(len(data)):
                    buffer = ReceiveBuffer()
                    buffer.feed(data[:cut])
                    self.assertIsNone(Address.parse(buffer, skip))
                    self.assertEqual(len(buffer), cut)
                    buffer.feed(data[cut:] + b"rest")
                    self.assertEqual(Address.parse(buffer, skip), address)
                    self.assertEqual(buffer.takeAll(), b"rest")

    def test_onTheWire(self) -> None:
        """
        The encodings are those of RFC 1928 section 5, the port big-endian.
        """
        for address, data in (
            (IPV4, b"\x01\xc0\0\x02\x01\0\x50"),
            (IPV6, b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01\x01\xbb"),
            (Address.name("example.org", 258), b"\x03\x0bexample.org\x01\x02"),
        ):
            self.assertEqual(address.encode(), data)
            self.assertEqual(Address.parse(ReceiveBuffer(data)), address)

    def test_unknownType(self) -> None:
        """
        An unknown ATYP is refused with reply 08 as soon as it is there,
        whatever follows it.
        """
        for number in sorted(set(range(256)) - {1, 3, 4}):
            for skip in (0, 3):
                for rest in (b"", b"x", b"x" * 30):
                    buffer = ReceiveBuffer(bytes(skip) + bytes((number,)) + rest)
                    wrong = self.assertRaises(
                        RemoteProtocolError, Address.parse, buffer, skip
                    )
                    self.assertEqual(wrong.reply, ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED)

    def test_impossibleName(self) -> None:
        """
        A name that cannot be one is refused with reply 04 on the wire too.
        """
        for name in (b"", b"a\0b", LABEL_63 + b"x"):
            buffer = ReceiveBuffer(encodedName(name))
            wrong = self.assertRaises(RemoteProtocolError, Address.parse, buffer)
            self.assertEqual(wrong.reply, ReplyCode.HOST_UNREACHABLE)

    @settings(deadline=None)
    @given(addresses, st.binary(max_size=9))
    def test_roundTrip(self, address: Address, rest: bytes) -> None:
        """
        Parsing what was encoded gives the same address, and nothing behind it
        is lost.
        """
        buffer = ReceiveBuffer(address.encode() + rest)
        self.assertEqual(Address.parse(buffer), address)
        self.assertEqual(buffer.takeAll(), rest)

    @settings(deadline=None, max_examples=500)
    @given(st.one_of(st.binary(), st.binary().map(lambda b: b"\x03" + b)))
    @example(b"\x03\x00\x00\x00")
    def test_garbage(self, data: bytes) -> None:
        """
        Any bytes give an address, or L{None} with nothing taken, or
        L{RemoteProtocolError}, and nothing else.
        """
        buffer = ReceiveBuffer(data)
        try:
            address = Address.parse(buffer)
        except RemoteProtocolError as wrong:
            self.assertIn(wrong.reply, (4, 8))
        else:
            if address is None:
                self.assertEqual(len(buffer), len(data))
            else:
                self.assertEqual(
                    Address.parse(ReceiveBuffer(address.encode())), address
                )
                self.assertTrue(str(address).isprintable())


class TextTests(SynchronousTestCase):
    """
    What goes into a log line.
    """

    def assertHarmless(self, text: str) -> None:
        """
        Every character prints, none is of the kinds that steer a terminal or
        the direction of writing, and a backslash only ever begins an escape.
        """
        for c in text:
            self.assertNotIn(c, " \"'")
            self.assertNotIn(unicodedata.category(c)[0], "CZ")
        bare = re.sub(
            r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", "", text, flags=re.ASCII
        )
        self.assertNotIn("\\", bare)

    def test_plain(self) -> None:
        """
        Ordinary text stays as it is, letters of any script among it.
        """
        for text in ("", "example.org", "under_score", "b\u00fccher", "\u4f8b\u3048"):
            self.assertEqual(printable(text), text)

    def test_escaped(self) -> None:
        """
        Control characters, white space, quotes, backslashes, half surrogates
        and marks that turn the direction of writing are escaped.
        """
        for text, escaped in (
            ("a b", "a\\x20b"),
            ("a\r\n\x1b\x7f", "a\\x0d\\x0a\\x1b\\x7f"),
            ("\"'\\", "\\x22\\x27\\x5c"),
            ("\u00a0\u0085", "\\xa0\\x85"),
            ("\u202e\u2066\u200f\u061c", "\\u202e\\u2066\\u200f\\u061c"),
            ("\u2028\udcff", "\\u2028\\udcff"),
            ("\U000e0001", "\\U000e0001"),
        ):
            self.assertEqual(printable(text), escaped)

    @settings(deadline=None, max_examples=500)
    @given(
        st.text(
            st.one_of(
                st.characters(),
                st.sampled_from(" \t\r\n\0\"'\\\x1b\x7f\xad\u200b\u202e\u2069\ufeff"),
            )
        )
    )
    def test_printable(self, text: str) -> None:
        """
        No text comes out of it that could forge or disturb a log line, and no
        two texts come out the same.
        """
        escaped = printable(text)
        self.assertHarmless(escaped)
        back = re.sub(
            r"\\(?:x(..)|u(....)|U(.{8}))",
            lambda m: chr(int(m[1] or m[2] or m[3], 16)),
            escaped,
        )
        self.assertEqual(back, text)

    def test_str(self) -> None:
        """
        The text of an address is C{host:port}, with an IPv6 address in
        brackets.
        """
        for address, text in (
            (IPV4, "192.0.2.1:80"),
            (IPV6, "[2001:db8::1]:443"),
            (Address.name("example.org", 80), "example.org:80"),
            (Address.name(b"a b\n\xff", 80), "a\\x20b\\x0a\\udcff:80"),
        ):
            self.assertEqual(str(address), text)

    @settings(deadline=None)
    @given(addresses)
    def test_strIsHarmless(self, address: Address) -> None:
        """
        The text of an address is safe to log, whatever name a peer sent.
        """
        self.assertHarmless(str(address))
