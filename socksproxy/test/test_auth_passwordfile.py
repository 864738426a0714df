"""
Tests for L{socksproxy.auth.passwordfile}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Thread

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.auth.hashes import StoredHash
from socksproxy.auth.passwordfile import (
    LARGEST,
    SETTLED,
    PasswordFile,
    UnusableFile,
    Users,
    parseUsers,
)
from socksproxy.test.test_auth_hashes import argon2Of, bcryptOf, sha512Of
from socksproxy.test.test_auth_password import Events


class Counted(StoredHash):
    """
    A hash that counts how often it is asked, and to which every password is the
    right one.
    """

    __slots__ = ()

    asked: list[StoredHash] = []  # noqa: RUF012

    def matches(self, password: bytes) -> bool:
        self.asked.append(self)
        return True


def counted(text: bytes, cost: int) -> StoredHash:
    return Counted(text, ("counted", cost, 0, 0))


class UsersTests(SynchronousTestCase):
    """
    Who is known.
    """

    def test_know(self) -> None:
        """
        Each user by the own password.
        """
        users = parseUsers(
            b"ann:%b\nbob:%b\ncat:%b\n"
            % (bcryptOf(b"one"), argon2Of(b"two"), sha512Of(b"three"))
        )
        passwords = {b"ann": b"one", b"bob": b"two", b"cat": b"three"}
        for name in (*passwords, b"", b"an", b"ann\0", b"ANN", b"dan"):
            for password in (*passwords.values(), b"", b"ann"):
                self.assertEqual(
                    users.know(name, password), passwords.get(name) == password
                )

    def test_unknown(self) -> None:
        """
        For somebody who is not there one hash is computed too, of the cost that
        most of them have; that it matches is of no use.
        """
        self.patch(Counted, "asked", [])
        usual = counted(b"b", 2)
        users = Users.of(
            {
                b"ann": counted(b"a", 1),
                b"bob": usual,
                b"cat": counted(b"c", 3),
                b"dan": counted(b"d", 2),
            }
        )
        self.assertTrue(users.know(b"ann", b"x"))
        self.assertEqual(len(Counted.asked), 1)
        self.assertFalse(users.know(b"eve", b"x"))
        self.assertEqual(len(Counted.asked), 2)
        self.assertIs(Counted.asked[1], usual)

    def test_nobody(self) -> None:
        """
        A file without users knows nobody.
        """
        for content in (b"", b"\n", b"# nobody\n", b"  \r\n"):
            self.assertFalse(parseUsers(content).know(b"ann", b""))

    def test_repr(self) -> None:
        """
        No hash is shown by accident.
        """
        text = bcryptOf(b"one")
        self.assertNotIn(text[-9:].decode(), repr(parseUsers(b"ann:" + text)))


class ParseTests(SynchronousTestCase):
    """
    Lines.
    """

    def setUp(self) -> None:
        self.text = bcryptOf(b"one")

    def test_lines(self) -> None:
        """
        Empty lines and comments say nothing, lines may end as those of Windows, the
        last one need not, and the file may begin with the mark of UTF-8.
        """
        for content in (
            b"ann:%b\nbob:%b",
            b"\xef\xbb\xbfann:%b\nbob:%b\n",
            b"\n# ann:x\nann:%b\n\n  \nbob:%b\n",
            b"ann:%b\r\nbob:%b\r\n",
            b"ann:%b \nbob:%b\t\n",
        ):
            users = parseUsers(content % (self.text, self.text))
            self.assertEqual(list(users.hashes), [b"ann", b"bob"], content)

    def test_names(self) -> None:
        """
        A name is any bytes but a colon, UTF-8 or not.
        """
        for name in ("b\u00fccher".encode(), b"\xff", b"a b", b" ", b"n" * 255):
            self.assertTrue(parseUsers(name + b":" + self.text).know(name, b"one"))

    def test_broken(self) -> None:
        """
        What is wrong is said by its line, and not shown.
        """
        good = b"ann:%b\n" % self.text
        for line, words in (
            (b"s3cret", "NAME:HASH"),
            (b":s3cret", "NAME:HASH"),
            (b":" + self.text, "NAME:HASH"),
            (b"bob\0:" + self.text, "NAME:HASH"),
            (b"n" * 256 + b":" + self.text, "NAME:HASH"),
            (b"bob:s3cret", "plain"),
            (b"bob:", "plain"),
            (b"bob:$apr1$Stz9ZIY4$RA9Uy2kBhQEJ9awHJWd1V.", "MD5"),
            (b"bob:" + self.text + b":comment", "bcrypt"),
            (b"bob:" + self.text[:-1], "bcrypt"),
            (b"ann:" + self.text, "same name as in line 1"),
        ):
            for content, number in (
                (good + line, 2),
                (good + b"#\r\n\n" + line + b"\nx", 4),
            ):
                wrong = self.assertRaises(UnusableFile, parseUsers, content)
                self.assertTrue(str(wrong).startswith(f"line {number}: "), wrong)
                self.assertIn(words, str(wrong))
                for secret in ("s3cret", "RA9U", "bob", "nnn", self.text[8:].decode()):
                    self.assertNotIn(secret, str(wrong))

    def test_whatToDo(self) -> None:
        """
        Of a hash that is no use it is said how to make one that is.
        """
        wrong = self.assertRaises(UnusableFile, parseUsers, b"ann:plain")
        self.assertIn("htpasswd -B", str(wrong))
        self.assertIn("python -m socksproxy.auth.htpasswd", str(wrong))


class PasswordFileTests(SynchronousTestCase):
    """
    A file that changes.  Two of one size within what its times can tell apart are
    written by one test only, which says so: this clock is none for that.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.hashes = {name: bcryptOf(name) for name in (b"ann", b"bob", b"cat")}
        self.now = 0
        self.events = Events()
        globalLogPublisher.addObserver(self.events)
        self.addCleanup(globalLogPublisher.removeObserver, self.events)

    def write(self, *names: bytes, more: bytes = b"") -> None:
        lines = (b"%b:%b\n" % (name, self.hashes[name]) for name in names)
        self.path.write_bytes(b"".join(lines) + more)

    def file(self) -> PasswordFile:
        return PasswordFile(str(self.path), lambda: self.now)

    def logged(self) -> list[str]:
        """
        What has been logged since.
        """
        texts = [formatEvent(event) for event in self.events.seen]
        for text in texts:
            self.assertNotIn("$2b$", text)
            self.assertNotIn("s3cret", text)
        self.events.seen.clear()
        return texts

    def assertUsers(self, file: PasswordFile, *names: bytes) -> None:
        self.assertEqual(tuple(file.users.hashes), names)

    def test_changed(self) -> None:
        """
        A new file counts at once, and its generation is greater.
        """
        self.write(b"ann")
        file = self.file()
        self.assertUsers(file, b"ann")
        before = file.generation
        self.assertEqual(self.logged(), [])
        self.write(b"ann", b"bob")
        self.assertGreater(file.generation, before)
        self.assertUsers(file, b"ann", b"bob")
        (line,) = self.logged()
        self.assertIn(f"{self.path.resolve()} has been read again", line)
        self.assertIn("2 users", line)
        self.write(b"bob")
        self.assertUsers(file, b"bob")
        self.write()
        self.assertUsers(file)

    def test_unchanged(self) -> None:
        """
        A file that is as it was is not read, and the generation stays.
        """
        self.write(b"ann")
        file = self.file()
        before = file.generation
        self.patch(PasswordFile, "_read", lambda *_: self.fail("it was read"))
        for _ in range(3):
            self.assertUsers(file, b"ann")
            self.assertEqual(file.generation, before)

    def test_sameContent(self) -> None:
        """
        A file that was written again with the same users is no new generation.
        """
        self.write(b"ann")
        file = self.file()
        before = file.generation
        self.write(b"ann")
        self.assertEqual(file.generation, before)
        self.write(b"ann", more=b"# a comment\n")
        self.assertEqual(file.generation, before)

    def test_replaced(self) -> None:
        """
        Another file by the same name counts too, of the same size and age.
        """
        self.write(b"ann")
        file = self.file()
        status = self.path.stat()
        self.path = self.path.rename(self.mktemp())
        self.path, old = Path(file._path), self.path
        self.write(b"bob")
        os.utime(self.path, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.assertEqual(self.path.stat().st_size, old.stat().st_size)
        self.assertUsers(file, b"bob")

    def test_changedAtOnce(self) -> None:
        """
        A change that does not show in size and times, as it came right after the
        one before, is seen all the same.
        """
        self.write(b"ann")
        status = self.path.stat()
        self.now = status.st_mtime_ns + SETTLED // 2
        file = self.file()
        self.write(b"bob")
        self.patch(os, "stat", lambda path: status)
        self.assertUsers(file, b"bob")
        # Once it has been left alone for a while it is read once more.
        self.now += SETTLED
        self.assertUsers(file, b"bob")
        self.patch(PasswordFile, "_read", lambda *_: self.fail("it was read"))
        self.assertUsers(file, b"bob")

    def test_broken(self) -> None:
        """
        A new file that is of no use leaves the old users, and is logged once; so is
        that it is mended.
        """
        self.write(b"ann", b"bob")
        file = self.file()
        before = file.generation
        for number, more in enumerate((b"bob:s3cret\n", b"#\ns3cret\n", b"a:b\0"), 2):
            self.write(b"ann", more=more)
            for _ in range(3):
                self.assertUsers(file, b"ann", b"bob")
                self.assertEqual(file.generation, before)
            (line,) = self.logged()
            self.assertIn(str(self.path.resolve()), line)
            self.assertIn(f"line {3 if number == 3 else 2}: ", line)
        self.write(b"cat")
        self.assertUsers(file, b"cat")
        self.assertEqual(len(self.logged()), 1)
        self.assertGreater(file.generation, before)

    def test_mended(self) -> None:
        """
        A file that is again what it was is no new generation, but logged.
        """
        self.write(b"ann")
        file = self.file()
        before = file.generation
        self.write(more=b"s3cret")
        self.assertUsers(file, b"ann")
        self.write(b"ann")
        self.assertEqual(file.generation, before)
        self.assertEqual(len(self.logged()), 2)

    def test_gone(self) -> None:
        """
        So does one that is gone, until it is there again.
        """
        self.write(b"ann")
        file = self.file()
        self.path.unlink()
        for _ in range(3):
            self.assertUsers(file, b"ann")
        (line,) = self.logged()
        self.assertIn("No such file", line)
        self.write(b"bob")
        self.assertUsers(file, b"bob")

    def test_noFile(self) -> None:
        """
        Where there is none to begin with, or none that is of use, it is raised.
        """
        self.assertRaises(FileNotFoundError, self.file)
        self.path.mkdir()
        self.assertRaises(UnusableFile, self.file)
        self.path.rmdir()
        os.mkfifo(self.path)
        self.assertRaises(UnusableFile, self.file)
        self.path.unlink()
        self.write(more=b"s3cret")
        self.assertRaises(UnusableFile, self.file)

    def test_large(self) -> None:
        """
        A file has a largest size.
        """
        self.write(b"ann", more=b"#" * LARGEST)
        wrong = self.assertRaises(UnusableFile, self.file)
        self.assertIn(str(LARGEST), str(wrong))
        self.write(b"ann")
        size = self.path.stat().st_size
        self.write(b"ann", more=b"#" * (LARGEST - size))
        self.assertUsers(self.file(), b"ann")

    def test_directoryChanges(self) -> None:
        """
        It stays the same file when the working directory becomes another one.
        """
        self.write(b"ann")
        file = self.file()
        self.addCleanup(os.chdir, os.getcwd())
        self.path = self.path.resolve()
        os.chdir("/")
        self.write(b"ann", b"bob")
        self.assertUsers(file, b"ann", b"bob")

    def test_threads(self) -> None:
        """
        Many may ask at a time: one of them reads, and each change is one generation.
        """
        self.write(b"ann")
        file = self.file()
        before = file.generation
        self.write(b"ann", b"bob")
        reading: list[int] = []
        seen: list[tuple[bytes, ...]] = []
        read = file._read

        def slowly(status: os.stat_result) -> bytes:
            reading.append(1)
            time.sleep(0.05)
            return read(status)

        self.patch(file, "_read", slowly)
        threads = [
            Thread(target=lambda: seen.append(tuple(file.users.hashes)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(seen, [(b"ann", b"bob")] * 8)
        self.assertEqual(len(reading), 1)
        self.assertEqual(file.generation, before + 1)
        self.assertEqual(len(self.logged()), 1)
