"""
Tests for L{socksproxy.options.gssapi}.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.python import usage

from socksproxy.options.gssapi import GSSAPIOptions
from socksproxy.test.kerberos import KerberosTestCase, needsKerberos
from socksproxy.test.processes import ProcessTestCase, script
from socksproxy.wire.gssapi import Protection


class Options(usage.Options, GSSAPIOptions):
    """
    These alone.
    """


def parsed(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(arguments)
    return options


@needsKerberos
class AuthenticatorTests(KerberosTestCase):
    """
    What the options make.
    """

    def made(self, *arguments: str) -> Any:
        keytab = ("--gssapi-keytab", self.realm.keytab)
        options = parsed("--gssapi", *keytab, *arguments)
        (made,) = options.gssapiAuthenticators(None)
        return made

    def test_notGiven(self) -> None:
        """
        Without C{--gssapi} there is nothing, whatever else is said.
        """
        self.assertEqual(parsed().gssapiAuthenticators(None), [])
        self.assertEqual(parsed("--gssapi-nec").gssapiAuthenticators(None), [])

    def test_defaults(self) -> None:
        """
        Any service, any protection, but the level is not said in clear.
        """
        made = self.made()
        self.assertEqual(made.method, 1)
        self.assertEqual(made.least, Protection.NONE)
        self.assertTrue(made.protects)
        self.assertFalse(made.nec)

    def test_given(self) -> None:
        """
        All of it may be otherwise.
        """
        for level in Protection.INTEGRITY, Protection.CONFIDENTIALITY:
            made = self.made("--gssapi-protection", level.name.lower())
            self.assertEqual((made.least, made.protects), (level, True))
        self.assertFalse(self.made("--gssapi-protection", "off").protects)
        self.assertTrue(self.made("--gssapi-nec").nec)
        made = self.made("--gssapi-service", "rcmd@localhost")
        self.assertIn("rcmd/localhost", str(made.credentials.name))

    def test_keytab(self) -> None:
        """
        The file is the same one in whatever directory the proxy runs later.
        """
        path = os.path.relpath(self.realm.keytab)
        options = parsed("--gssapi-keytab", path)
        self.assertEqual(options["gssapi-keytab"], self.realm.keytab)

    def test_mistakes(self) -> None:
        """
        What cannot be is said.
        """
        with self.assertRaises(ValueError) as raised:
            self.made("--gssapi-service", "http")
        self.assertIn("--gssapi: ", str(raised.exception))
        for mistake in (
            ("--gssapi-protection", "much"),
            ("--gssapi-keytab", self.realm.path("nothing")),
        ):
            with self.assertRaises(usage.UsageError):
                parsed(*mistake)


class MistakeTests(ProcessTestCase):
    """
    What is wrong is said in one line.
    """

    def assertOneLine(
        self, *options: str, words: tuple[str, ...], path: str = ""
    ) -> None:
        command = [script("twistd"), "-n", "--pidfile=", "socks5", "--port", "0"]
        done = self.run_("env", f"PYTHONPATH={path}", *command, "--gssapi", *options)
        self.assertNotEqual(done.status, 0)
        self.assertEqual(len(done.errors.splitlines()), 1, repr(done))
        for word in words:
            self.assertIn(word, done.errors)

    def test_keytab(self) -> None:
        """
        A file of keys that cannot be read, or has none.
        """
        path = os.path.join(self.directory(), "keytab")
        self.assertOneLine("--gssapi-keytab", path, words=(path, "No such file"))
        Path(path).write_bytes(b"")
        self.assertOneLine("--gssapi-keytab", path, words=("--gssapi:", path))

    def test_protection(self) -> None:
        """
        A level that there is none of.
        """
        words = ("'much'", "confidentiality")
        self.assertOneLine("--gssapi-protection", "much", words=words)

    def test_noPackage(self) -> None:
        """
        The package that it wants is not there.
        """
        path = self.directory()
        Path(path, "gssapi.py").write_text("raise ImportError('no such thing')")
        words = ("pip install 'socksproxy[gssapi]'", "no such thing")
        self.assertOneLine(words=words, path=path)


# They are there to be subclassed.
del KerberosTestCase
