"""
Tests for L{socksproxy.auth.pam}: with the system's PAM, and services that only the
tests' processes can see.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from unittest import skipUnless

import pamela
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.auth.pam import PAMChecker, checkerFor
from socksproxy.test.processes import ProcessTestCase
from socksproxy.test.test_auth_hashes import sha512Of
from socksproxy.test.test_auth_password import Events
from socksproxy.test.test_passwords import UNTHROTTLED

SERVICES = {
    "socks": """
auth required pam_pwdfile.so pwdfile={directory}/passwords nodelay
account required pam_listfile.so item=user sense=deny file={directory}/denied onerr=fail
""",
    "passwords": """
auth required pam_pwdfile.so pwdfile={directory}/passwords nodelay
account required pam_permit.so
""",
    "broken": """
auth required pam_no_such_module.so
account required pam_permit.so
""",
}
"""
Services of PAM.
"""

_PWDFILE = any(
    path.exists()
    for path in (
        *Path("/usr/lib").glob("*/security/pam_pwdfile.so"),
        *Path("/lib").glob("*/security/pam_pwdfile.so"),
        Path("/usr/lib64/security/pam_pwdfile.so"),
    )
)


def privateServices(directory: str) -> list[str]:
    """
    Write the services into C{directory}.

    @return: a command that runs another one for which C{/etc/pam.d} is that
        directory, in a mount namespace of its own, and so for nobody else.
    """
    services = Path(directory) / "pam.d"
    services.mkdir()
    for name, text in SERVICES.items():
        (services / name).write_text(text.format(directory=directory))
    Path(directory, "denied").write_text("bob\n")
    Path(directory, "passwords").write_bytes(
        b"ann:%b\nbob:%b\nb\xc3\xbc:%b\n"
        % (sha512Of(b"s3cret"), sha512Of(b"s3cret"), sha512Of(b"\xc3\xbc\xff"))
    )
    command = [
        "unshare",
        *([] if os.geteuid() == 0 else ["--map-root-user"]),
        "--mount",
    ]
    mount = 'mount --bind "$0" /etc/pam.d && exec "$@"'
    return [*command, "sh", "-c", mount, str(services)]


_ASKS = """
import sys
from twisted.cred.error import LoginFailed
from twisted.logger import globalLogPublisher, textFileLogObserver
from socksproxy.auth.pam import checkerFor
globalLogPublisher.addObserver(textFileLogObserver(sys.stderr))
checker = checkerFor(sys.argv[1])
for pair in sys.argv[2:]:
    name, _, password = pair.encode("utf-8", "surrogateescape").partition(b":")
    name, password = name.replace(b"%", b"\\0"), password.replace(b"%", b"\\0")
    try:
        assert checker.check(name, password) == name
        print("yes")
    except LoginFailed as wrong:
        print(type(wrong).__name__, wrong)
"""
"""
Asks a service for pairs, in which a C{%} stands for a NUL.
"""


@skipUnless(_PWDFILE, "there is no pam_pwdfile.so: apt-get install libpam-pwdfile")
@skipUnless(shutil.which("unshare"), "there is no command unshare")
class ServiceTests(ProcessTestCase):
    """
    The system's PAM.
    """

    def setUp(self) -> None:
        self.prefix = privateServices(self.directory())
        tried = self.run_(*self.prefix, "true")
        if tried.status:
            self.skipTest(f"there can be no private /etc/pam.d: {tried.errors}")

    def ask(self, service: str, *pairs: str | bytes) -> tuple[list[str], str]:
        """
        @return: the answers to logins, and what was logged.
        """
        arguments = [
            os.fsdecode(pair) if isinstance(pair, bytes) else pair for pair in pairs
        ]
        asked = self.run_(
            *self.prefix, sys.executable, "-c", _ASKS, service, *arguments
        )
        self.assertEqual(asked.status, 0, repr(asked))
        self.assertNotIn("s3cret", asked.output + asked.errors)
        return asked.output.splitlines(), asked.errors

    def test_passwords(self) -> None:
        """
        Who has the right password is let in, bytes or text, and nobody else.
        """
        answers, logged = self.ask(
            "passwords",
            *("ann:s3cret", "bob:s3cret", b"b\xc3\xbc:\xc3\xbc\xff"),
            *("ann:secret", "ann:", "eve:s3cret", ":"),
        )
        self.assertEqual(answers[:3], ["yes"] * 3)
        self.assertEqual(answers[3:], ["UnauthorizedLogin "] * 4)
        self.assertEqual(logged, "")

    def test_account(self) -> None:
        """
        A user whose account may not be used is not let in by the right password.
        """
        answers, logged = self.ask("socks", "ann:s3cret", "bob:s3cret")
        self.assertEqual(answers, ["yes", "UnauthorizedLogin "])
        self.assertEqual(logged, "")

    def test_cut(self) -> None:
        """
        Nothing is cut at a NUL.
        """
        answers, _ = self.ask(
            "passwords", "ann:s3cret%", "ann:s3cret%x", "ann%x:s3cret"
        )
        self.assertEqual(answers, ["UnauthorizedLogin "] * 3)

    def test_broken(self) -> None:
        """
        A service that cannot tell lets nobody in; that is no wrong password, and it
        is logged.
        """
        answers, logged = self.ask("broken", "ann:s3cret")
        self.assertEqual(answers, ["NotChecked PAM cannot check it"])
        self.assertIn("service broken", logged)
        self.assertEqual(len(logged.splitlines()), 1)

    def test_proxy(self) -> None:
        """
        C{--auth pam:SERVICE}, on the wire, with two processes that serve.
        """
        for options in ((), ("--workers", "2")):
            proxy = self.startProxy(
                *("--port", "0", "--auth", "pam:socks", *UNTHROTTLED, *options),
                prefix=self.prefix,
            )
            for login, answer in (
                (b"\x01\x03ann\x06s3cret", b"\x01\x00"),
                (b"\x05\x03ann\x06s3cret", b"\x05\x00"),
                (b"\x01\x03ann\x06s3crex", b"\x01\x01"),
                (b"\x01\x03ann\x08s3cret\0x", b"\x01\x01"),
                (b"\x01\x03bob\x06s3cret", b"\x01\x01"),
                (b"\x01\x03eve\x06s3cret", b"\x01\x01"),
            ):
                client = self.client(proxy.client())
                self.assertEqual(client.greet(b"\x02"), b"\x05\x02")
                client.socket.sendall(login)
                self.assertEqual(client.receive(2), answer, login)
                client.socket.close()
            self.assertStops(proxy)
            self.assertNotIn("s3cre", proxy.log)
            self.assertQuiet(proxy)


class CheckerTests(SynchronousTestCase):
    """
    What is asked of PAM, and what is made of its answers.
    """

    def setUp(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.answer: int | None = None
        self.patch(pamela, "authenticate", self.authenticate)
        self.checker = PAMChecker("socks")

    def authenticate(
        self, name: bytes, passwords: list[bytes], service: str, resetcred: int
    ) -> None:
        self.asked.append((name, passwords, service, resetcred))
        if self.answer is not None:
            raise pamela.PAMError(errno=self.answer)

    def test_interfaces(self) -> None:
        """
        It is a checker.
        """
        verifyObject(ICredentialsChecker, self.checker)

    def test_asked(self) -> None:
        """
        PAM is given the password once, and asked for no credentials of the user's.
        """
        self.assertEqual(self.checker.check(b"ann", b"\xff"), b"ann")
        self.assertEqual(self.asked, [(b"ann", [b"\xff"], "socks", 0)])

    def test_notAsked(self) -> None:
        """
        What C cannot say is not asked, nor who has no name.
        """
        for name, password in ((b"ann\0", b"x"), (b"ann", b"\0"), (b"", b"x")):
            self.assertRaises(UnauthorizedLogin, self.checker.check, name, password)
        self.assertEqual(self.asked, [])

    def test_answers(self) -> None:
        """
        A refusal is told from trouble, which is logged, without the password.
        """
        events = Events()
        globalLogPublisher.addObserver(events)
        self.addCleanup(globalLogPublisher.removeObserver, events)
        for self.answer in (6, 7, 10, 11, 12, 13, 27):
            wrong = self.assertRaises(
                UnauthorizedLogin, self.checker.check, b"ann", b"s3cret"
            )
            self.assertEqual(events.seen, [])
        for self.answer in (1, 3, 4, 9, 26, 28):
            wrong = self.assertRaises(
                LoginFailed, self.checker.check, b"ann", b"s3cret"
            )
            self.assertNotIsInstance(wrong, UnauthorizedLogin)
            (event,) = events.seen
            self.assertIn("service socks: ", formatEvent(event))
            self.assertNotIn("s3cret", repr(event) + repr(wrong))
            events.seen.clear()

    def test_service(self) -> None:
        """
        For the command line the service has to be there, unless all of them are in
        one file.
        """
        one, two = self.mktemp(), self.mktemp()
        for name in ("", "../x", "a/b", "a\0b"):
            wrong = self.assertRaises(ValueError, checkerFor, name, (one, two))
            self.assertIn("/etc/pam.d", str(wrong))
        self.assertIsInstance(checkerFor("socks", (one, two)), PAMChecker)
        os.makedirs(one)
        os.makedirs(two)
        wrong = self.assertRaises(ValueError, checkerFor, "socks", (one, two))
        self.assertIn(f"{one}/socks", str(wrong))
        # PAM takes the name in lower case.
        Path(two, "Socks").touch()
        self.assertRaises(ValueError, checkerFor, "Socks", (one, two))
        Path(two, "socks").touch()
        self.assertIsInstance(checkerFor("Socks", (one, two)), PAMChecker)
