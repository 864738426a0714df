"""
Tests for L{socksproxy.wire.uri}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.wire.address import Address
from socksproxy.wire.errors import RemoteProtocolError
from socksproxy.wire.uri import AbsoluteTarget, parseAuthority


class AuthorityTests(SynchronousTestCase):
    """
    What CONNECT names.
    """

    def test_hosts(self) -> None:
        """
        Names, addresses, and IPv6 addresses in brackets.
        """
        for text, host in (
            (b"example.com:443", "example.com"),
            (b"my_host:443", "my_host"),
            (b"192.0.2.1:443", "192.0.2.1"),
            (b"[2001:db8::1]:443", "2001:db8::1"),
            (b"[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ):
            self.assertEqual(parseAuthority(text), Address.name(host, 443))

    def test_ports(self) -> None:
        """
        The port may be left out where there is one to take instead.
        """
        for text, port in (
            (b"h:0", 0),
            (b"h:65535", 65535),
            (b"h:0065535", 65535),
            (b"h:" + b"0" * 5000, 0),
            (b"h", 80),
            (b"h:", 80),
        ):
            self.assertEqual(parseAuthority(text, 80), Address.name("h", port))
        for text in (b"h", b"h:", b"h:65536", b"h:0065536", b"h:" + b"9" * 5000):
            self.assertRaises(RemoteProtocolError, parseAuthority, text)

    def test_nothingOfTheKind(self) -> None:
        """
        All else is refused: also a user, who has no place here, and whatever two
        parsers could read in two ways.
        """
        for text in (
            b"",
            b":443",
            b"a b:443",
            b"user@h:443",
            b"h:44a",
            b"h:-1",
            b"h:+1",
            b"h:443:443",
            b"h/:443",
            b"h\\:443",
            b"h#:443",
            b"h%41:443",
            b"h\0:443",
            b"h\n:443",
            b"h:443\n",
            b"[::1:443",
            b"::1:443",
            b"[::1]x:443",
            b"[v1.x]:443",
            b"[192.0.2.1]:443",
            b"[abc]:443",
            b"[1:2]:443",
            b"[]:443",
            "é:443".encode(),
            b"x" * 64 + b":443",
        ):
            self.assertRaises(RemoteProtocolError, parseAuthority, text)

    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=300))
    def test_anything(self, text: bytes) -> None:
        """
        Whatever comes, it is an address or refused.
        """
        for parse in (parseAuthority, AbsoluteTarget.parse):
            try:
                parse(text)
            except RemoteProtocolError:
                pass


class AbsoluteTests(SynchronousTestCase):
    """
    What all other methods name.
    """

    def test_parts(self) -> None:
        """
        Where it is, what Host says, and what the host is asked for.
        """
        for target, host, port, authority, path in (
            (b"http://h/a/b?c=d", "h", 80, b"h", b"/a/b?c=d"),
            (b"HTTP://h:8080/", "h", 8080, b"h:8080", b"/"),
            (b"http://h", "h", 80, b"h", b""),
            (b"http://h?q", "h", 80, b"h", b"/?q"),
            (b"http://h:/", "h", 80, b"h:", b"/"),
            (b"http://[::1]:81/x", "::1", 81, b"[::1]:81", b"/x"),
            (b"http://h/a#b", "h", 80, b"h", b"/a"),
            (b"http://h/http://i/", "h", 80, b"h", b"/http://i/"),
            (b"http://h/a@b:c", "h", 80, b"h", b"/a@b:c"),
        ):
            expected = AbsoluteTarget(Address.name(host, port), authority, path)
            self.assertEqual(AbsoluteTarget.parse(target), expected)

    def test_otherForms(self) -> None:
        """
        Another form, or another scheme, is not this.
        """
        for target in (
            b"/",
            b"*",
            b"h:80",
            b"https://h/",
            b"ftp://h/",
            b"http:/h",
            b"",
        ):
            self.assertIsNone(AbsoluteTarget.parse(target))

    def test_impossible(self) -> None:
        """
        A host or a port that cannot be one is refused.
        """
        for target in (b"http:///x", b"http://u:p@h/", b"http://h:x/", b"http://:80/"):
            self.assertRaises(RemoteProtocolError, AbsoluteTarget.parse, target)
