"""
Tests for L{socksproxy.outbound.files}.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from socksproxy.outbound.files import (
    WatchedFile,
    nameServer,
    parseHosts,
    parseResolvConf,
)
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType


class HostsTests(SynchronousTestCase):
    """
    hosts(5).
    """

    def test_parse(self) -> None:
        """
        Each name of a line has the line's address, in small letters, and a
        name of several lines has all of theirs, each once.
        """
        found = parseHosts(
            b"# comment\n\n127.0.0.1\tlocalhost\n"
            b"::1 localhost  Loop6 # localhost\n"
            b"127.0.0.1 localhost\r\n192.0.2.1 a b"
        )
        one, six = Address.ip("127.0.0.1", 0), Address.ip("::1", 0)
        two = Address.ip("192.0.2.1", 0)
        self.assertEqual(
            found, {b"localhost": [one, six], b"loop6": [six], b"a": [two], b"b": [two]}
        )

    def test_zone(self) -> None:
        """
        A zone is left out.
        """
        self.assertEqual(
            parseHosts(b"fe80::1%lo0 here"), {b"here": [Address.ip("fe80::1", 0)]}
        )

    def test_garbage(self) -> None:
        """
        A line that is none is passed over.
        """
        found = parseHosts(b"\xff\xfe x\nlocalhost 127.0.0.1\n127.0.0.1\n\0\n::1 y\n")
        self.assertEqual(found, {b"y": [Address.ip("::1", 0)]})


class ResolvConfTests(SynchronousTestCase):
    """
    resolv.conf(5).
    """

    def test_parse(self) -> None:
        """
        The servers come in their order, with the port of DNS.
        """
        found = parseResolvConf(
            b"# nameserver 192.0.2.9\n; nameserver 192.0.2.8\nsearch example.org\n"
            b"nameserver 192.0.2.1\nnameserver\t2001:db8::1 # second\n"
            b"options timeout:1\n"
        )
        self.assertEqual(
            found, (Address.ip("192.0.2.1", 53), Address.ip("2001:db8::1", 53))
        )

    def test_none(self) -> None:
        """
        Without one it is this machine's.
        """
        for content in (b"", b"nameserver\nnameserver one.example\nnameserver \xff"):
            self.assertEqual(
                parseResolvConf(content), (Address.ip("127.0.0.1", 53),), content
            )

    def test_zone(self) -> None:
        """
        The zone of a link-local server is kept.
        """
        self.assertEqual(
            parseResolvConf(b"nameserver fe80::1%eth0\n"),
            (Address(AddressType.IPV6, "fe80::1%eth0", 53),),
        )

    def test_nameServer(self) -> None:
        """
        A name is no address of a name server.
        """
        self.assertRaises(ValueError, nameServer, "ns.example.org", 53)
        self.assertRaises(ValueError, nameServer, "", 53)


class WatchedFileTests(SynchronousTestCase):
    """
    The content of a file, as it is now.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.parsed: list[bytes] = []

    def parse(self, content: bytes) -> bytes:
        self.parsed.append(content)
        return content.upper()

    def test_content(self) -> None:
        """
        It is read once, and again when it has changed in whatever way.
        """
        self.path.write_bytes(b"one")
        watched = WatchedFile(str(self.path), self.parse)
        for _ in range(3):
            self.assertEqual(watched.content(), b"ONE")
        self.assertEqual(self.parsed, [b"", b"one"])
        self.path.write_bytes(b"three")
        self.assertEqual(watched.content(), b"THREE")
        other = self.path.with_suffix(".new")
        other.write_bytes(b"other")
        status = self.path.stat()
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.rename(self.path)
        self.assertEqual(watched.content(), b"OTHER")

    def test_missing(self) -> None:
        """
        A file that is not there, or cannot be read, is an empty one.
        """
        watched = WatchedFile(str(self.path), self.parse)
        self.assertEqual(watched.content(), b"")
        self.path.write_bytes(b"one")
        self.assertEqual(watched.content(), b"ONE")
        self.path.unlink()
        self.assertEqual(watched.content(), b"")
        self.path.mkdir()
        self.assertEqual(watched.content(), b"")
