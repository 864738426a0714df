"""
Tests for L{socksproxy.auth.htpasswd}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import errno
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.auth.htpasswd import HtpasswdChecker, checkerFor
from socksproxy.auth.passwordfile import UnusableFile
from socksproxy.test.processes import PATIENCE, Finished, ProcessTestCase, needs
from socksproxy.test.test_auth_hashes import argon2Of, bcryptOf, sha512Of


class CheckerTests(SynchronousTestCase):
    """
    Logins against a file.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_bytes(b"ann:%b\n" % bcryptOf(b"one"))
        self.checker = HtpasswdChecker(str(self.path))

    def test_interfaces(self) -> None:
        """
        It is a checker.
        """
        verifyObject(ICredentialsChecker, self.checker)

    def test_check(self) -> None:
        """
        The right password gives the name, anything else is refused alike.
        """
        self.assertEqual(self.checker.check(b"ann", b"one"), b"ann")
        for name, password in (
            *((b"ann", b"two"), (b"eve", b"one"), (b"ann", b""), (b"", b"")),
            *((b"ann", b"one\0one"), (b"ann\0", b"one"), (b"ann", b"x" * 255)),
        ):
            wrong = self.assertRaises(
                UnauthorizedLogin, self.checker.check, name, password
            )
            self.assertEqual(str(wrong), "")

    def test_changed(self) -> None:
        """
        A new file counts from the next login on, and shows in the generation.
        """
        before = self.checker.generation
        self.path.write_bytes(
            b"bob:%b\ncat:%b\n" % (argon2Of(b"two"), sha512Of(b"three"))
        )
        self.assertGreater(self.checker.generation, before)
        self.assertEqual(self.checker.check(b"bob", b"two"), b"bob")
        self.assertEqual(self.checker.check(b"cat", b"three"), b"cat")
        self.assertRaises(UnauthorizedLogin, self.checker.check, b"ann", b"one")

    def test_noFile(self) -> None:
        """
        What is wrong with the file is raised, and for the command line named.
        """
        self.assertRaises(FileNotFoundError, HtpasswdChecker, "/no/such/file")
        self.path.write_text("ann:s3cret")
        self.assertRaises(UnusableFile, HtpasswdChecker, str(self.path))
        for path, words in (
            ("", "FILE"),
            ("/no/such/file", f"/no/such/file: {os.strerror(errno.ENOENT)}"),
            (str(self.path), f"{self.path}: line 1: "),
        ):
            wrong = self.assertRaises(ValueError, checkerFor, path)
            self.assertIn(words, str(wrong))
            self.assertNotIn("s3cret", str(wrong))

    def test_checkerFor(self) -> None:
        """
        For the command line it is the same checker.
        """
        self.assertEqual(checkerFor(str(self.path)).check(b"ann", b"one"), b"ann")


class MainTests(ProcessTestCase):
    """
    C{python -m socksproxy.auth.htpasswd}.
    """

    module = (sys.executable, "-m", "socksproxy.auth.htpasswd")

    def assertKnows(self, line: bytes, name: bytes, password: bytes) -> None:
        """
        C{line} is one of C{name} with C{password}.
        """
        self.assertTrue(line.startswith(name + b":$argon2id$"))
        self.assertEqual(line.count(b"\n"), 1)
        path = Path(self.directory()) / "users"
        path.write_bytes(line)
        self.assertEqual(HtpasswdChecker(str(path)).check(name, password), name)

    def test_input(self) -> None:
        """
        The password is the first line of the standard input, whatever its bytes.
        """
        for name, given, password in (
            ("ann", b"s3cret\n", b"s3cret"),
            ("b\u00fccher", b" a:b\xff\r\nmore", b" a:b\xff"),
            ("a b", b"x" * 255, b"x" * 255),
        ):
            made = self.run_(*self.module, name, stdin=given)
            self.assertEqual((made.status, made.errors), (0, ""), repr(made))
            self.assertKnows(made.data, name.encode(), password)

    def test_mistakes(self) -> None:
        """
        A line that would be of no use is not printed.
        """
        for arguments, given, words in (
            ((), b"x", "Usage"),
            (("--help",), b"x", "Usage"),
            (("ann", "s3cret"), b"x", "Usage"),
            (("",), b"x", "1 to 255"),
            (("a:b",), b"x", "colon"),
            (("a\nb",), b"x", "name"),
            (("#ann",), b"x", "name"),
            (("n" * 256,), b"x", "1 to 255"),
            (("ann",), b"", "1 to 255"),
            (("ann",), b"\nx", "1 to 255"),
            (("ann",), b"x" * 256, "1 to 255"),
        ):
            said = self.run_(*self.module, *arguments, stdin=given)
            self.assertEqual((said.status, said.output), (1, ""), repr(said))
            self.assertIn(words, said.errors)
            self.assertNotIn("Traceback", said.errors)
            self.assertNotIn("s3cret", said.errors)

    def atTerminal(self, *answers: bytes) -> tuple[int, bytes]:
        """
        Run it at a terminal.

        @return: its status, and all that the terminal showed.
        """
        terminal, inner = pty.openpty()
        process = subprocess.Popen(
            (*self.module, "ann"),
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.close(inner)
        shown, waiting = b"", list(answers)
        while select.select([terminal], [], [], PATIENCE)[0]:
            try:
                shown += os.read(terminal, 4096)
            except OSError:
                # The other side is closed.
                break
            if waiting and shown.endswith((b"Password: ", b"Once more: ")):
                os.write(terminal, waiting.pop(0) + b"\n")
        os.close(terminal)
        return process.wait(PATIENCE), shown

    def test_terminal(self) -> None:
        """
        At a terminal it is asked for twice, and not shown.
        """
        status, shown = self.atTerminal(b"s3cret", b"s3cret")
        self.assertEqual(status, 0, shown)
        self.assertNotIn(b"s3cret", shown)
        found = re.search(rb"ann:\S+", shown)
        assert found is not None
        self.assertKnows(found[0] + b"\n", b"ann", b"s3cret")

    def test_terminalMistake(self) -> None:
        """
        It has to be the same both times.
        """
        status, shown = self.atTerminal(b"s3cret", b"secret")
        self.assertEqual(status, 1)
        self.assertIn(b"not the same", shown)
        self.assertNotIn(b"s3cret", shown)
        self.assertNotIn(b"ann:", shown)


class ProgramTests(ProcessTestCase):
    """
    Files that real programs have written.
    """

    def assertKnows(self, path: str, *users: tuple[bytes, bytes]) -> None:
        checker = HtpasswdChecker(path)
        for name, password in users:
            self.assertEqual(checker.check(name, password), name)
            for wrong in (password + b"x", password[:-1], b""):
                self.assertRaises(UnauthorizedLogin, checker.check, name, wrong)

    def check(self, *command: str, stdin: bytes = b"") -> Finished:
        done = self.run_(*command, stdin=stdin)
        self.assertEqual(done.status, 0, repr(done))
        return done

    @needs("htpasswd")
    def test_htpasswd(self) -> None:
        """
        C{htpasswd -B} and C{htpasswd -5}, also of what is no ASCII.
        """
        path = os.path.join(self.directory(), "users")
        self.check("htpasswd", "-ciB", path, "ann", stdin=b"one")
        self.check("htpasswd", "-iB", "-C", "6", path, "bob", stdin=b"b\xc3\xbccher")
        self.check("htpasswd", "-i5", path, "cat", stdin=b"three")
        self.assertKnows(
            path, (b"ann", b"one"), (b"bob", b"b\xc3\xbccher"), (b"cat", b"three")
        )
        self.check("htpasswd", "-D", path, "ann")
        checker = HtpasswdChecker(path)
        self.assertRaises(UnauthorizedLogin, checker.check, b"ann", b"one")

    @needs("htpasswd")
    def test_htpasswdCuts(self) -> None:
        """
        What C{htpasswd -B} has cut to 72 bytes does not log in: neither what was
        given, nor something else that begins with it.
        """
        path = os.path.join(self.directory(), "users")
        self.check("htpasswd", "-ciB", path, "ann", stdin=b"x" * 100)
        checker = HtpasswdChecker(path)
        for length in (71, 73, 100, 101):
            self.assertRaises(UnauthorizedLogin, checker.check, b"ann", b"x" * length)

    @needs("htpasswd")
    def test_htpasswdWeak(self) -> None:
        """
        Its other formats are refused.
        """
        for option, words in (
            ("-m", "MD5"),
            ("-s", "SHA-1"),
            ("-d", "plain"),
            ("-p", "plain"),
            ("-2", "SHA-256"),
        ):
            path = os.path.join(self.directory(), "users")
            self.check("htpasswd", "-ciB", path, "ann", stdin=b"one")
            self.check("htpasswd", "-i", option, path, "bob", stdin=b"two")
            wrong = self.assertRaises(UnusableFile, HtpasswdChecker, path)
            self.assertIn("line 2: ", str(wrong))
            self.assertIn(words, str(wrong))

    @needs("mkpasswd", "openssl")
    def test_sha512(self) -> None:
        """
        C{mkpasswd -m sha-512} and C{openssl passwd -6}.
        """
        path = Path(self.directory()) / "users"
        lines = b""
        for name, command in (
            (b"ann", ("mkpasswd", "-m", "sha-512", "-s")),
            (b"bob", ("mkpasswd", "-m", "sha-512", "-R", "1000", "-s")),
            (b"cat", ("openssl", "passwd", "-6", "-stdin")),
        ):
            made = self.check(*command, stdin=b"of " + name + b"\n")
            lines += name + b":" + made.data
        path.write_bytes(lines)
        self.assertKnows(
            str(path), *((name, b"of " + name) for name in (b"ann", b"bob", b"cat"))
        )
