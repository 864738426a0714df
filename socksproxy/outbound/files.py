"""
The files that tell where names are looked up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from socksproxy.wire.address import Address

__all__ = ["WatchedFile", "nameServer", "parseHosts", "parseResolvConf"]

PORT = 53

_T = TypeVar("_T")


class WatchedFile(Generic[_T]):
    """
    What a file says, read again when it has changed.
    """

    def __init__(self, path: str, parse: Callable[[bytes], _T]) -> None:
        """
        @param parse: from the content, empty where it cannot be read.
        """
        self._path = path
        self._parse = parse
        self._stamp: object = None
        self._content = parse(b"")

    def content(self) -> _T:
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp != self._stamp:
                with open(self._path, "rb") as file:
                    self._content = self._parse(file.read())
                self._stamp = stamp
        except OSError:
            self._stamp, self._content = None, self._parse(b"")
        return self._content


def _lines(content: bytes) -> Iterator[list[bytes]]:
    """
    The words of each line that has some, without comments.
    """
    for line in content.splitlines():
        words = line.partition(b"#")[0].split()
        if words:
            yield words


def parseHosts(content: bytes) -> dict[bytes, list[Address]]:
    """
    The addresses of every name in a hosts(5) file.
    """
    found: dict[bytes, list[Address]] = {}
    for text, *names in _lines(content):
        try:
            address = Address.ip(text.decode("ascii"), 0)
        except ValueError:
            continue
        for name in names:
            addresses = found.setdefault(name.lower(), [])
            if address not in addresses:
                addresses.append(address)
    return found


def nameServer(text: str, port: int = PORT) -> Address:
    """
    The address of a name server, with its zone: a link-local address is
    nothing without.

    @raise ValueError: C{text} is no IPv4 and no IPv6 address.
    """
    address = Address.ip(text, port)
    return Address(address.type, text, port) if "%" in text else address


def parseResolvConf(content: bytes) -> tuple[Address, ...]:
    """
    The servers of a resolv.conf(5), and what it means to name none.
    """
    found = []
    for keyword, *values in _lines(content):
        if keyword == b"nameserver" and values:
            try:
                found.append(nameServer(values[0].decode("ascii")))
            except ValueError:
                continue
    return tuple(found) or (nameServer("127.0.0.1"),)
