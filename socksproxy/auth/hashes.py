"""
Passwords as they are kept: the kinds of hashes that are strong enough, by libraries
that compare them in constant time.

No hash and no password shows up in a C{repr} or in an exception.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import ClassVar

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from argon2.low_level import Type, verify_secret
from passlib.hash import sha512_crypt

__all__ = [
    "Argon2id",
    "Bcrypt",
    "SHA512Crypt",
    "StoredHash",
    "UnusableHash",
    "newHash",
    "parseHash",
]

LONGEST_BCRYPT = 72
"""
What comes behind these bytes, bcrypt never sees.
"""

COSTLIEST_BCRYPT = 17
"""
As for C{htpasswd -C}.  One more takes twice the time: this one takes some ten
seconds.
"""

MOST_ROUNDS = 1_000_000
"""
Rounds of SHA-512 crypt, which take about a second.
"""

MOST_MEMORY = 1024 * 1024
"""
KiB that a login may take for argon2id.
"""

MOST_PASSES = 100
"""
Passes of argon2id over its memory.
"""


class UnusableHash(ValueError):
    """
    It is no hash that a password can be checked against, or too weak.  The text
    says what it is, and shows nothing of it.
    """


@dataclass(frozen=True, slots=True)
class StoredHash:
    """
    A password that cannot be read.

    @ivar text: as it stands in a file.
    @ivar cost: two hashes that have it in common take the same time.
    """

    text: bytes = field(repr=False)
    cost: tuple[str, int, int, int]

    pattern: ClassVar[re.Pattern[bytes]]

    @classmethod
    def parsed(cls, found: re.Match[bytes]) -> StoredHash:
        """
        @raise UnusableHash: it has the right shape, but asks for too much.
        """
        raise NotImplementedError

    def matches(self, password: bytes) -> bool:
        """
        Whether this is the password.  It takes its time, which depends on
        neither, and is called on a thread.
        """
        raise NotImplementedError


class Bcrypt(StoredHash):
    """
    What C{htpasswd -B} writes.

    The key that bcrypt makes of a password is the password and a NUL, over and
    over, 72 bytes of it: C{abc}, C{abc\\0abc} and whatever has the same first 72
    bytes are one to it.  Here a password that has a NUL or is longer matches
    nothing.
    """

    __slots__ = ()

    # The salt's last character has two bits only.
    pattern = re.compile(
        rb"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}"
    )

    @classmethod
    def parsed(cls, found: re.Match[bytes]) -> StoredHash:
        if not 4 <= int(found[1]) <= COSTLIEST_BCRYPT:
            raise UnusableHash(f"a bcrypt cost that is not 4 to {COSTLIEST_BCRYPT}")
        return cls(found[0], ("bcrypt", int(found[1]), 0, 0))

    def matches(self, password: bytes) -> bool:
        whole = b"\0" not in password and len(password) <= LONGEST_BCRYPT
        return bcrypt.checkpw(password if whole else b"", self.text) and whole


class Argon2id(StoredHash):
    """
    What is best today; it takes passwords of any bytes, to the last one.
    """

    __slots__ = ()

    pattern = re.compile(
        rb"\$argon2id\$v=19\$m=([0-9]{1,7}),t=([0-9]{1,3}),p=([0-9]{1,2})"
        rb"\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})"
    )

    @classmethod
    def parsed(cls, found: re.Match[bytes]) -> StoredHash:
        if not (_isBase64(found[4]) and _isBase64(found[5])):
            raise UnusableHash("an argon2id hash that is damaged")
        memory, passes, lanes = (int(found[number]) for number in (1, 2, 3))
        if not (lanes and 8 * lanes <= memory <= MOST_MEMORY):
            raise UnusableHash(
                f"argon2id with memory that is not 8 KiB for each lane to "
                f"{MOST_MEMORY} KiB"
            )
        if not 1 <= passes <= MOST_PASSES:
            raise UnusableHash(f"argon2id with a time that is not 1 to {MOST_PASSES}")
        return cls(found[0], ("argon2id", memory, passes, lanes))

    def matches(self, password: bytes) -> bool:
        try:
            return verify_secret(self.text, password, Type.ID)
        except VerifyMismatchError:
            return False


def _isBase64(text: bytes) -> bool:
    """
    Whether it is, without padding, and without bits that mean nothing.
    """
    padded = text + b"=" * (-len(text) % 4)
    try:
        return b64encode(b64decode(padded)) == padded
    except ValueError:
        return False


class SHA512Crypt(StoredHash):
    """
    What C{mkpasswd -m sha-512}, C{openssl passwd -6} and C{htpasswd -5} write.

    A C string is what they hash, so a password that has a NUL matches nothing.
    """

    __slots__ = ()

    pattern = re.compile(
        rb"\$6\$(?:rounds=([1-9][0-9]{3,8})\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{86}"
    )

    @classmethod
    def parsed(cls, found: re.Match[bytes]) -> StoredHash:
        rounds = int(found[1] or 5000)
        if rounds > MOST_ROUNDS:
            raise UnusableHash(f"more than {MOST_ROUNDS} rounds of SHA-512 crypt")
        return cls(found[0], ("SHA-512 crypt", rounds, 0, 0))

    def matches(self, password: bytes) -> bool:
        whole = b"\0" not in password
        found: bool = sha512_crypt.verify(
            password if whole else b"", self.text.decode("ascii")
        )
        return found and whole


_KINDS: tuple[type[StoredHash], ...] = (Bcrypt, Argon2id, SHA512Crypt)

_OTHERS = (
    (b"$apr1$", "an MD5 hash, which is too weak"),
    (b"$1$", "an MD5 hash, which is too weak"),
    (b"{SHA}", "a SHA-1 hash, which is too weak"),
    (b"{SSHA}", "a SHA-1 hash, which is too weak"),
    (b"$5$", "a SHA-256 hash, a kind that is not known here"),
    (b"$y$", "a yescrypt hash, a kind that is not known here"),
    (b"$argon2i$", "an argon2i hash, where argon2id is known here"),
    (b"$argon2d$", "an argon2d hash, where argon2id is known here"),
    (b"$argon2id$", "an argon2id hash that is damaged, or of an old version"),
    (b"$2", "a bcrypt hash that is damaged, or of a version with a fault"),
    (b"$6$", "a SHA-512 hash that is damaged"),
)


def parseHash(text: bytes) -> StoredHash:
    """
    @raise UnusableHash: no password can, or should, be checked against it.
    """
    for kind in _KINDS:
        found = kind.pattern.fullmatch(text)
        if found is not None:
            return kind.parsed(found)
    for prefix, what in _OTHERS:
        if text.startswith(prefix):
            raise UnusableHash(what)
    raise UnusableHash("a plain password, or a hash of a kind that is not known here")


def newHash(password: bytes) -> bytes:
    """
    A hash of the best kind, argon2id, at the cost that RFC 9106 recommends for
    where there is little memory.
    """
    return PasswordHasher().hash(password).encode("ascii")
