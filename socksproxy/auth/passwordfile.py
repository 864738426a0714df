"""
A file of names and hashes, as C{htpasswd} writes it, that is read again when it
has changed.
"""

from __future__ import annotations

import os
import stat
import time
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from twisted.logger import Logger

from socksproxy.auth.hashes import StoredHash, UnusableHash, parseHash

__all__ = ["PasswordFile", "UnusableFile", "Users", "parseUsers"]

log = Logger()

LARGEST = 1024 * 1024
"""
Bytes of a file, which are some ten thousand users.
"""

LONGEST_NAME = 255
"""
RFC 1929 has no room for more.
"""

SETTLED = 2_000_000_000
"""
Nanoseconds after which a file whose time of change is the same is the same: all
file systems know the time better than that.
"""

AGAIN = (
    "make it anew with python -m socksproxy.auth.htpasswd, or with htpasswd -B, and "
    "remove this line"
)
"""
What to do about a hash that is of no use.
"""


class UnusableFile(ValueError):
    """
    No users can be read from it.  The text names the line, but nothing that
    stands in it.
    """


@dataclass(frozen=True, slots=True)
class Users:
    """
    What a file says.

    @ivar hashes: by name.
    @ivar decoy: one of them, whose cost most of them share, to check the
        passwords of those against who are not there; L{None} where nobody is.
    """

    hashes: dict[bytes, StoredHash] = field(repr=False)
    decoy: StoredHash | None

    @classmethod
    def of(cls, hashes: dict[bytes, StoredHash]) -> Users:
        costs = Counter(stored.cost for stored in hashes.values())
        usual = max(costs, key=costs.__getitem__, default=None)
        of = (stored for stored in hashes.values() if stored.cost == usual)
        return cls(hashes, next(of, None))

    def know(self, name: bytes, password: bytes) -> bool:
        """
        Whether C{password} is that of C{name}.  It takes its time, and for a
        name that is not there as long as for most that are.
        """
        stored = self.hashes.get(name)
        asked = self.decoy if stored is None else stored
        return asked is not None and asked.matches(password) and stored is not None


def parseUsers(content: bytes) -> Users:
    """
    Lines C{name:hash}; empty ones and those that begin with C{#} say nothing.

    @raise UnusableFile: a line is none of those.
    """
    hashes: dict[bytes, StoredHash] = {}
    lineOf: dict[bytes, int] = {}
    for number, line in enumerate(content.removeprefix(BOM_UTF8).split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        if not line.strip() or line.startswith(b"#"):
            continue
        name, colon, text = line.partition(b":")
        if not colon or not name or b"\0" in line or len(name) > LONGEST_NAME:
            raise UnusableFile(f"line {number}: it is not NAME:HASH")
        if name in lineOf:
            raise UnusableFile(
                f"line {number}: the same name as in line {lineOf[name]}: remove the "
                "one that is out of date"
            )
        try:
            hashes[name] = parseHash(text.rstrip())
        except UnusableHash as wrong:
            raise UnusableFile(f"line {number}: {wrong}: {AGAIN}") from None
        lineOf[name] = number
    return Users.of(hashes)


class PasswordFile:
    """
    The users in a file, by one look at its status each time that they are asked
    for.  A new file that is of no use leaves those there were, and is logged once.
    Any thread may ask.
    """

    def __init__(
        self, path: str, nanoseconds: Callable[[], int] = time.time_ns
    ) -> None:
        """
        @param nanoseconds: the time, in that of files.
        @raise OSError: it cannot be read.
        @raise UnusableFile: it can, but it is of no use.
        """
        # The working directory may be another one when it is read again.
        self._path = os.path.abspath(path)
        self._nanoseconds = nanoseconds
        self._lock = Lock()
        status = os.stat(self._path)
        self._content = self._read(status)
        self._users = parseUsers(self._content)
        self._stamp = self._stampOf(status)
        self._generation = 0
        self._complaint = ""

    @property
    def users(self) -> Users:
        """
        Those that there are now.
        """
        with self._lock:
            self._look()
            return self._users

    @property
    def generation(self) -> int:
        """
        A number that is another, greater one whenever L{users} have changed.
        """
        with self._lock:
            self._look()
            return self._generation

    def _look(self) -> None:
        """
        Read it if it has changed.
        """
        try:
            status = os.stat(self._path)
            if self._stamp is not None and self._stamp == self._stampOf(status):
                return
            self._stamp = self._stampOf(status)
            content = self._read(status)
            users = self._users if content == self._content else parseUsers(content)
        except OSError as wrong:
            self._stamp = None
            self._complain(wrong.strerror or "it cannot be read")
        except UnusableFile as wrong:
            self._complain(str(wrong))
        else:
            if users != self._users:
                self._generation += 1
            if content != self._content or self._complaint:
                log.info(
                    "{path} has been read again: it has {count} users.",
                    path=self._path,
                    count=len(users.hashes),
                )
            self._content, self._users, self._complaint = content, users, ""

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            log.warn(
                "{path} has changed and is of no use, so the users before stay: "
                "{complaint}.",
                path=self._path,
                complaint=complaint,
            )

    def _read(self, status: os.stat_result) -> bytes:
        if not stat.S_ISREG(status.st_mode):
            raise UnusableFile("it is not a file")
        with open(self._path, "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UnusableFile(f"it is larger than {LARGEST} bytes")
        return content

    def _stampOf(self, status: os.stat_result) -> tuple[int, ...] | None:
        """
        What is another one whenever the file has changed.  There is none while
        the change is so recent that another one would not show in the times.
        """
        age = self._nanoseconds() - max(status.st_mtime_ns, status.st_ctime_ns)
        if 0 <= age < SETTLED:
            return None
        return (
            *(status.st_dev, status.st_ino, status.st_size),
            *(status.st_mtime_ns, status.st_ctime_ns),
        )
