"""
Tests for L{socksproxy.auth.hashes}.
"""

from __future__ import annotations

import bcrypt
from argon2.low_level import Type, hash_secret
from hypothesis import given, settings
from hypothesis.strategies import binary
from passlib.hash import sha512_crypt
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.auth.hashes import (
    COSTLIEST_BCRYPT,
    MOST_MEMORY,
    MOST_PASSES,
    MOST_ROUNDS,
    StoredHash,
    UnusableHash,
    newHash,
    parseHash,
)

SECRET = b"s3cret"


def bcryptOf(password: bytes) -> bytes:
    return bcrypt.hashpw(password, bcrypt.gensalt(4))


def argon2Of(password: bytes) -> bytes:
    return hash_secret(password, b"saltsalt", 1, 8, 1, 16, Type.ID)


def sha512Of(password: bytes) -> bytes:
    text: str = sha512_crypt.using(rounds=1000).hash(password)
    return text.encode()


MAKERS = (bcryptOf, argon2Of, sha512Of)

C_STRINGS = (bcryptOf, sha512Of)
"""
Those that know no NUL.
"""


class MatchTests(SynchronousTestCase):
    """
    What is a user's password, and what is not.
    """

    def test_matches(self) -> None:
        """
        The password, whatever its bytes, and nothing else.
        """
        for make in MAKERS:
            for password in (
                SECRET,
                b"",
                "b\u00fccher".encode(),
                b"\xff\xfe",
                b"a b:c",
            ):
                stored = parseHash(make(password))
                self.assertTrue(stored.matches(password), (make, password))
                for other in (
                    *(password + b"x", password[:-1] + b"y", b"x" + password),
                    *(password + b"\0", password + b"\0x", b"\0" + password),
                    password + b"\n",
                ):
                    self.assertFalse(stored.matches(other), (make, other))

    def test_repeated(self) -> None:
        """
        bcrypt cannot tell C{s3cret} from C{s3cret NUL s3cret}, but we can.
        """
        text, trick = bcryptOf(SECRET), SECRET + b"\0" + SECRET
        self.assertTrue(bcrypt.checkpw(trick, text), "this test tests nothing")
        self.assertFalse(parseHash(text).matches(trick))

    def test_nulMatchesNothing(self) -> None:
        """
        A password that has a NUL is not even that of a user with an empty one.
        """
        for make in C_STRINGS:
            for password in (b"\0", b"\0x", b"x\0"):
                self.assertFalse(parseHash(make(b"")).matches(password), make)

    def test_nulInArgon2id(self) -> None:
        """
        argon2id takes a NUL for a byte like others.
        """
        stored = parseHash(argon2Of(b"a\0b"))
        self.assertTrue(stored.matches(b"a\0b"))
        for other in (b"a", b"a\0", b"a\0c", b"a\0b\0"):
            self.assertFalse(stored.matches(other))

    def test_long(self) -> None:
        """
        The longest password that a login can have is compared to its last byte;
        bcrypt knows 72, and nothing that is longer logs in.
        """
        longest = bytes(range(1, 256))
        for make in (argon2Of, sha512Of):
            stored = parseHash(make(longest))
            self.assertTrue(stored.matches(longest))
            self.assertFalse(stored.matches(longest[:-1] + b"x"))
        stored = parseHash(bcryptOf(longest[:72]))
        self.assertTrue(stored.matches(longest[:72]))
        self.assertFalse(stored.matches(longest[:71]))
        for length in (73, 255):
            self.assertFalse(stored.matches(longest[:length]))
        # Not even where nothing is the password.
        self.assertFalse(parseHash(bcryptOf(b"")).matches(b"x" * 73))

    @settings(max_examples=50, deadline=None)
    @given(binary(max_size=255), binary(max_size=255))
    def test_anything(self, password: bytes, other: bytes) -> None:
        """
        Nothing that a client can send raises, and only the password matches.
        """
        whole = b"\0" not in password
        texts = [argon2Of(password)]
        if whole:
            texts.append(sha512Of(password))
            if len(password) <= 72:
                texts.append(bcryptOf(password))
        for text in texts:
            self.assertTrue(parseHash(text).matches(password))
            self.assertEqual(parseHash(text).matches(other), other == password)

    def test_new(self) -> None:
        """
        A new hash is of argon2id, with a salt of its own.
        """
        one, two = newHash(SECRET), newHash(SECRET)
        self.assertNotEqual(one, two)
        self.assertTrue(one.startswith(b"$argon2id$"))
        self.assertTrue(parseHash(one).matches(SECRET))
        self.assertFalse(parseHash(one).matches(b"other"))


class ParseTests(SynchronousTestCase):
    """
    Which hashes are taken.
    """

    def assertUnusable(self, text: bytes, *words: str) -> None:
        """
        It is refused, in words that show nothing of it.
        """
        wrong = self.assertRaises(UnusableHash, parseHash, text)
        for word in words:
            self.assertIn(word, str(wrong))
        if len(text) > 12:
            self.assertNotIn(text[8:].decode("latin-1"), str(wrong))
            self.assertNotIn(text[:8].decode("latin-1"), str(wrong))

    def test_cost(self) -> None:
        """
        Hashes of one kind and the same parameters have the same cost.
        """
        costs = set()
        for make in MAKERS:
            one, two = parseHash(make(b"one")), parseHash(make(b"two"))
            self.assertEqual(one.cost, two.cost)
            costs.add(one.cost)
        for text in (
            bcrypt.hashpw(b"one", bcrypt.gensalt(5)),
            hash_secret(b"one", b"saltsalt", 2, 8, 1, 16, Type.ID),
            hash_secret(b"one", b"saltsalt", 1, 16, 1, 16, Type.ID),
            hash_secret(b"one", b"saltsalt", 1, 16, 2, 16, Type.ID),
            sha512_crypt.using(rounds=1001).hash(b"one").encode(),
        ):
            costs.add(parseHash(text).cost)
        self.assertEqual(len(costs), 8)

    def test_versions(self) -> None:
        """
        bcrypt's three names for what is the same are taken.
        """
        for version in (b"$2a", b"$2b", b"$2y"):
            text = version + bcryptOf(SECRET)[3:]
            self.assertTrue(parseHash(text).matches(SECRET), version)

    def test_weak(self) -> None:
        """
        What is too weak, or not known, is refused and told apart.
        """
        for text, what in (
            (b"$apr1$Stz9ZIY4$RA9Uy2kBhQEJ9awHJWd1V.", "MD5"),
            (b"$1$Stz9ZIY4$RA9Uy2kBhQEJ9awHJWd1V.", "MD5"),
            (b"{SHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", "SHA-1"),
            (b"{SSHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", "SHA-1"),
            (b"$5$saltsalt$2nJyJJ2nJyJJ2nJyJJ2nJyJJ2nJyJJ", "SHA-256"),
            (b"$y$j9T$/pEJvBGW5rsEhQ5e0CbAx.$FFrbOSNt9tErl9fJX/0e", "yescrypt"),
            (b"$argon2i" + argon2Of(SECRET)[9:], "argon2i "),
            (b"$argon2d" + argon2Of(SECRET)[9:], "argon2d "),
            (b"3TXczJUlknJKA", "plain"),
            (b"correct horse battery staple", "plain"),
            (b"\xff\xfe", "plain"),
            (b"", "plain"),
            (b"*", "plain"),
            (b"!" + sha512Of(SECRET), "plain"),
        ):
            self.assertUnusable(text, what)

    def test_damaged(self) -> None:
        """
        A hash that is cut, too long or has a wrong character is refused, before
        anybody logs in with it.
        """
        for make in MAKERS:
            text = make(SECRET)
            for cut in range(len(text)):
                self.assertUnusable(text[:cut])
            for wrong in (b"!", b":", b" ", b"\0", b"\n", b"\xff"):
                self.assertUnusable(text + wrong)
                self.assertUnusable(text[:-1] + wrong)
                self.assertUnusable(wrong + text)
        for make in C_STRINGS:
            self.assertUnusable(make(SECRET) + b"a")
        self.assertUnusable(b"$2x" + bcryptOf(SECRET)[3:], "version")

    def test_salt(self) -> None:
        """
        A bcrypt salt whose last character has bits that it cannot have would be
        refused by bcrypt, and is by us.
        """
        text = bytearray(bcryptOf(SECRET))
        text[28:29] = b"A"
        self.assertRaises(ValueError, bcrypt.checkpw, SECRET, bytes(text))
        self.assertUnusable(bytes(text), "bcrypt", "damaged")

    def test_base64(self) -> None:
        """
        So are bits that cannot be at the end of a part of an argon2id hash.
        """
        text = argon2Of(SECRET)
        head, salt, tail = text.rsplit(b"$", 2)
        for wrong in (
            b"$".join((head, salt, tail[:-1] + b"/")),
            b"$".join((head, salt[:-1] + b"/", tail)),
            b"$".join((head, salt, tail + b"AAA")),
        ):
            self.assertUnusable(wrong, "argon2id", "damaged")

    def test_tooMuch(self) -> None:
        """
        A hash that would take minutes, or all memory, is refused.
        """
        for cost in (0, 3, COSTLIEST_BCRYPT + 1, 31, 99):
            text = b"$2y$%02d$" % cost + bcryptOf(SECRET)[7:]
            self.assertUnusable(text, f"4 to {COSTLIEST_BCRYPT}")
        tail = argon2Of(SECRET).split(b"$", 4)[4]
        for memory, passes, lanes in (
            *((MOST_MEMORY + 1, 1, 1), (9999999, 1, 1), (7, 1, 1), (15, 1, 2)),
            *((8, 0, 1), (8, MOST_PASSES + 1, 1), (8, 1, 0)),
        ):
            text = b"$argon2id$v=19$m=%d,t=%d,p=%d$" % (memory, passes, lanes) + tail
            self.assertUnusable(text, "argon2id with")
        tail = sha512Of(SECRET).split(b"$", 3)[3]
        for rounds in (MOST_ROUNDS + 1, 999999999):
            self.assertUnusable(b"$6$rounds=%d$" % rounds + tail, "rounds")
        for count in (b"0", b"999", b"05000", b"", b"9999999999"):
            self.assertUnusable(b"$6$rounds=" + count + b"$" + tail, "damaged")

    def test_whatIsTakenCanBeChecked(self) -> None:
        """
        No library refuses what has been taken: the least that there can be.
        """
        for text in (
            b"$6$$" + sha512Of(SECRET)[-86:],
            b"$6$rounds=1000$a$" + sha512Of(SECRET)[-86:],
            b"$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$" + b"A" * 22,
            b"$2b$04$" + b"." * 53,
        ):
            self.assertFalse(parseHash(text).matches(SECRET))

    def test_repr(self) -> None:
        """
        A hash is not shown by accident.
        """
        for make in MAKERS:
            text = make(SECRET)
            stored: StoredHash = parseHash(text)
            self.assertEqual(stored.text, text)
            self.assertNotIn(text[-20:].decode(), repr(stored) + str(stored))
