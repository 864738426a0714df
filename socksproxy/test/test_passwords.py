"""
C{--auth htpasswd:} and what there is to know of it, with real processes.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

from socksproxy.auth.htpasswd import HtpasswdChecker
from socksproxy.auth.passwordfile import LARGEST
from socksproxy.tap import Options
from socksproxy.test.processes import (
    Finished,
    ProcessTestCase,
    Proxy,
    needs,
    script,
)
from socksproxy.test.source import sourceFile
from socksproxy.test.test_auth_hashes import argon2Of, bcryptOf, sha512Of

UNTHROTTLED = ("--login-pause-after", "0", "--login-ban-after", "0")
"""
Options with which wrong logins are answered at once, however many there are.
"""

_LIBRARIES = ("bcrypt", "argon2", "passlib", "pamela")

_LOADED = f"""
print(*(
    name for name in sys.modules
    if name.partition(".")[0] in {_LIBRARIES!r} or name.startswith("socksproxy.auth.")
))
"""


class PasswordTests(ProcessTestCase):
    """
    What all tests here share.
    """

    def setUp(self) -> None:
        self.path = Path(self.directory()) / "users"
        self.hashes = {
            b"ann": bcryptOf(b"s3cret1"),
            b"bob": argon2Of(b"s3cret2"),
            b"cat": sha512Of(b"s3cret3"),
        }
        self.write(self.path, *self.hashes)

    def write(self, path: Path, *names: bytes, more: bytes = b"") -> None:
        lines = [name + b":" + self.hashes[name] + b"\n" for name in names]
        path.write_bytes(b"".join(lines) + more)

    def login(self, proxy: Proxy, name: bytes, password: bytes) -> bool:
        """
        @return: whether it was accepted.
        """
        client = self.client(proxy.client())
        self.assertEqual(client.greet(b"\x02"), b"\x05\x02")
        client.socket.sendall(
            bytes((1, len(name))) + name + bytes((len(password),)) + password
        )
        answer = client.receive(2)
        client.socket.close()
        self.assertIn(answer, (b"\x01\x00", b"\x01\x01"))
        return answer == b"\x01\x00"

    def assertNoSecret(self, *texts: str) -> None:
        """
        No password and no hash is in them, nor a part of one.
        """
        for text in texts:
            self.assertNotIn("s3cret", text)
            for hash in self.hashes.values():
                self.assertNotIn(hash[-20:].decode(), text)


class LoginTests(PasswordTests):
    """
    On the wire.
    """

    def test_kinds(self) -> None:
        """
        A password of each kind is checked to its end.
        """
        proxy = self.startProxy(
            *("--port", "0", "--auth", f"htpasswd:{self.path}"), *UNTHROTTLED
        )
        for name, password, known in (
            *((b"ann", b"s3cret1", True), (b"bob", b"s3cret2", True)),
            *((b"cat", b"s3cret3", True), (b"ann", b"s3cret2", False)),
            *((b"ann", b"s3cret1\0x", False), (b"cat", b"s3cret3\0x", False)),
            *((b"ann", b"s3cret1\0s3cret1", False), (b"bob", b"s3cret2\0", False)),
            *((b"ann\0", b"s3cret1", False), (b"eve", b"s3cret1", False)),
            *((b"", b"", False), (b"ann", b"", False), (b"ann", b"x" * 255, False)),
        ):
            self.assertEqual(self.login(proxy, name, password), known, (name, password))
        self.assertStops(proxy)
        self.assertQuiet(proxy)
        self.assertNoSecret(proxy.log)

    def test_changes(self) -> None:
        """
        A new file counts without a restart, one that is of no use does not, and the
        log says so.  With workers that is so for each of them.
        """
        for options in ((), ("--workers", "2")):
            self.write(self.path, b"ann", b"bob")
            proxy = self.startProxy(
                *("--port", "0", "--auth", f"htpasswd:{self.path}"),
                *UNTHROTTLED,
                *options,
            )
            # So many that each worker has some.
            tries = range(16 if options else 1)
            for _ in tries:
                self.assertTrue(self.login(proxy, b"ann", b"s3cret1"))
            self.write(self.path, b"bob", b"cat")
            for _ in tries:
                self.assertFalse(self.login(proxy, b"ann", b"s3cret1"))
                self.assertTrue(self.login(proxy, b"cat", b"s3cret3"))
            self.write(self.path, more=b"dan:s3cret4\n")
            for _ in tries:
                self.assertTrue(self.login(proxy, b"cat", b"s3cret3"))
                self.assertFalse(self.login(proxy, b"dan", b"s3cret4"))
            self.path.unlink()
            for _ in tries:
                self.assertTrue(self.login(proxy, b"cat", b"s3cret3"))
            self.write(self.path, b"ann")
            for _ in tries:
                self.assertFalse(self.login(proxy, b"cat", b"s3cret3"))
            self.assertTrue(self.login(proxy, b"ann", b"s3cret1"))
            self.assertStops(proxy)
            self.assertQuiet(proxy)
            self.assertIn(f"{self.path} has been read again", proxy.log)
            self.assertIn("line 1: a plain password", proxy.log)
            self.assertIn("No such file", proxy.log)
            self.assertNoSecret(proxy.log)


class MistakeTests(PasswordTests):
    """
    A file that is of no use, and libraries that are not there.
    """

    def assertOneLine(self, *command: str, words: str) -> None:
        """
        C{command} ends with status 1 and one line that has C{words}.
        """
        finished = self.run_(*command)
        self.assertEqual((finished.status, finished.output), (1, ""), repr(finished))
        (line,) = finished.errors.splitlines()
        self.assertRegex(line, "^socks5: --auth (htpasswd|pam): ")
        self.assertNotIn("Unexpected", line)
        self.assertIn(words, line)
        self.assertNoSecret(line)

    def twistd(self, auth: str) -> tuple[str, ...]:
        return (script("twistd"), "-n", "--pidfile=", "socks5", "--auth", auth)

    def test_noFile(self) -> None:
        """
        A file that cannot be read is named, with the reason.
        """
        for path, words in (
            ("/no/such/file", "/no/such/file: No such file"),
            (str(self.path.parent), f"{self.path.parent}: it is not a file"),
            (f"{self.path}/x", "Not a directory"),
            ("", "htpasswd:FILE"),
        ):
            self.assertOneLine(*self.twistd(f"htpasswd:{path}"), words=words)

    def test_brokenFile(self) -> None:
        """
        Of a line that is of no use the number is told, and what to do.
        """
        for more, words in (
            (b"dan:s3cret4\n", "line 4: "),
            (b"#\ns3cret\n", "line 5: "),
            (b"dan:$apr1$s3cretss$RA9Uy2kBhQEJ9awHJWd1V.\n", "htpasswd -B"),
            (b"#" * LARGEST, f"larger than {LARGEST} bytes"),
        ):
            self.write(self.path, *self.hashes, more=more)
            self.assertOneLine(*self.twistd(f"htpasswd:{self.path}"), words=words)

    def test_workers(self) -> None:
        """
        With workers it is the same line.
        """
        command = self.twistd("htpasswd:/no/such/file")
        self.assertOneLine(*command, "--workers", "2", words="No such file")

    def test_noLibrary(self) -> None:
        """
        Where an extra is not installed it is told how that is done.
        """
        # Not bcrypt: a plugin of Twisted's own would miss it too.
        for library in _LIBRARIES[1:]:
            directory = Path(self.directory())
            (directory / f"{library}.py").write_text(
                f"raise ModuleNotFoundError('no {library}', name='{library}')\n"
            )
            kind, extra, argument = (
                ("pam", "pam", "socks")
                if library == "pamela"
                else ("htpasswd", "passwords", str(self.path))
            )
            self.assertOneLine(
                *("env", f"PYTHONPATH={directory}", "PYTHONDONTWRITEBYTECODE=1"),
                *self.twistd(f"{kind}:{argument}"),
                words=f"no {library} here: pip install 'socksproxy[{extra}]'",
            )

    def test_noService(self) -> None:
        """
        So is a PAM service that is not there.
        """
        self.assertOneLine(*self.twistd("pam:"), words="pam:SERVICE")
        self.assertOneLine(
            *self.twistd("pam:no-such-service"), words="/etc/pam.d/no-such-service"
        )


class PluginTests(PasswordTests):
    """
    Who does not want it does not load it.
    """

    def python(self, program: str) -> Finished:
        finished = self.run_(sys.executable, "-c", f"import sys\n{program}{_LOADED}")
        self.assertEqual(finished.status, 0, repr(finished))
        return finished

    def test_lazy(self) -> None:
        """
        Neither C{twistd --help}, which loads all plugins of services, nor
        C{--help-auth}, which loads those of checkers, nor a server with other
        logins imports a library of hashes or PAM.
        """
        plugins = "from twisted.plugin import getPlugins\n"
        service = "from twisted.application.service import IServiceMaker as wanted\n"
        checker = "from twisted.cred.strcred import ICheckerFactory as wanted\n"
        options = "from socksproxy.tap import Options\nOptions().parseOptions(%r)\n"
        for program, expected in (
            (f"{plugins}{service}assert list(getPlugins(wanted))\n", set()),
            (f"{plugins}{checker}assert list(getPlugins(wanted))\n", set()),
            (options % [], set()),
            (options % ["--auth", "memory:a:b"], set()),
            (options % ["--auth", f"htpasswd:{self.path}"], {"argon2", "passlib"}),
        ):
            loaded = self.python(program).output.split()
            found = {name.partition(".")[0] for name in loaded}
            # Others load bcrypt too: cryptography does, for keys of SSH.
            self.assertEqual(found & {"argon2", "passlib", "pamela"}, expected)
            self.assertEqual("socksproxy.auth.hashes" in loaded, bool(expected))

    def test_help(self) -> None:
        """
        The kinds are listed, and each can be asked about.
        """
        listed = self.run_(script("twistd"), "socks5", "--help-auth").output
        for kind, words in (
            ("htpasswd", ("bcrypt", "argon2id", "SHA-512", "[passwords]")),
            ("pam", ("LDAP", "RADIUS", "account", "[pam]")),
        ):
            self.assertRegex(listed, rf"(?m)^  {kind} *\t\S")
            asked = self.run_(script("twistd"), "socks5", "--help-auth-type", kind)
            self.assertEqual(asked.status, 0, repr(asked))
            self.assertNotIn("not supported", asked.output)
            for word in words:
                self.assertIn(word, asked.output)
            for line in asked.output.splitlines():
                self.assertLess(len(line), 89)


class DocumentationTests(PasswordTests):
    """
    C{docs/passwords.rst} is right.
    """

    @needs("htpasswd", "mkpasswd", "openssl")
    def test_commands(self) -> None:
        """
        The commands that make a file make one with the users that they name, and
        the proxy can be started with it.
        """
        text = sourceFile("docs/passwords.rst").read_text()
        directory = Path(self.directory())
        named = set()
        for line in re.findall(r"^ {4}(.*users.*)$", text, re.M):
            if line.startswith("twistd"):
                continue
            line = line.replace("python3 ", f"{sys.executable} ")
            # It would ask at a terminal.
            line = re.sub(r"^htpasswd -", "htpasswd -i", line)
            line = line.replace("mkpasswd", "mkpasswd -s")
            line = line.replace("passwd -6", "passwd -6 -stdin")
            done = self.run_(
                "sh", "-c", line, stdin=b"correct horse\n", cwd=str(directory)
            )
            self.assertEqual(done.status, 0, f"{line}: {done!r}")
            named |= set(re.findall(r"alice|bob|carol|dave", line))
        self.assertEqual(len(named), 4)
        checker = HtpasswdChecker(str(directory / "users"))
        for name in named:
            self.assertEqual(
                checker.check(name.encode(), b"correct horse"), name.encode()
            )
        (command,) = re.findall(r"^ {4}twistd -n socks5 (.*:users.*)$", text, re.M)
        Options().parseOptions(command.replace(":users", f":{directory}/users").split())

    def test_plugin(self) -> None:
        """
        The plugin that it prints is a kind of C{--auth}.
        """
        text = sourceFile("docs/passwords.rst").read_text()
        found = re.search(r"   :name: rows.py\n\n((?:   .*\n|\n)+)", text)
        assert found is not None
        directory = Path(self.directory())
        plugins = directory / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "rows.py").write_text(textwrap.dedent(found[1]))
        (directory / "table").write_text('ann,"s3cret1"\n')
        proxy = self.startProxy(
            *("--port", "0", "--auth", f"rows:{directory}/table"),
            prefix=("env", f"PYTHONPATH={directory}"),
        )
        self.assertTrue(self.login(proxy, b"ann", b"s3cret1"))
        self.assertFalse(self.login(proxy, b"ann", b"s3cret2"))
        self.assertStops(proxy)
        self.assertQuiet(proxy)
