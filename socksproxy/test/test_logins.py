"""
Logins at a C{twistd socks5} that runs: an attack, who needs no login, and what
fail2ban makes of the log.
"""

from __future__ import annotations

import re
import socket
import textwrap
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path

from twisted.internet.address import IPv6Address
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher, textFileLogObserver

from socksproxy.auth.throttle import GuessLimits, Throttle
from socksproxy.tap import Options
from socksproxy.test.processes import (
    PATIENCE,
    Client,
    ProcessTestCase,
    Proxy,
    needs,
    script,
)
from socksproxy.test.source import sourceFile

PASSWORD = b"s3cret-horse"
GUESSES = 2000
ATTACKERS = 8

FILTER = "contrib/fail2ban/filter.d/socksproxy.conf"


class LoginTests(ProcessTestCase):
    """
    What all tests here share.
    """

    def users(self) -> str:
        """
        What C{--auth} is given: a file with one user.
        """
        path = Path(self.directory()) / "users"
        path.write_bytes(b"alice:" + PASSWORD + b"\n")
        return f"file:{path}"

    def startWorkers(self, *options: str) -> Proxy:
        """
        A proxy whose two workers listen.
        """
        proxy = self.startProxy("--port", "0", "--workers", "2", *options)
        self.until(
            lambda: proxy.log.count(" listens, its process is ") == 2,
            "the workers do not listen",
        )
        return proxy

    def connected(self, proxy: Proxy, source: str = "127.0.0.1") -> Client:
        """
        A client from that address.
        """
        address = ("127.0.0.1", proxy.port)
        connection = socket.create_connection(address, PATIENCE, (source, 0))
        return self.client(Client(connection))

    def login(self, client: Client, user: bytes, password: bytes) -> bytes:
        """
        @return: the answer.  When that is a refusal the client has left.
        """
        self.assertEqual(client.greet(b"\x02"), b"\x05\x02")
        client.socket.sendall(
            bytes((1, len(user))) + user + bytes((len(password),)) + password
        )
        answer = client.receive(2)
        if answer != b"\1\0":
            client.socket.close()
        return answer

    def assertServed(self, client: Client) -> None:
        """
        Its next request reaches a target.
        """
        listening = self.listener()
        code, _ = client.request(*listening.getsockname())
        self.assertEqual(code, 0)
        target = self.accept(listening)
        client.socket.sendall(b"hello")
        self.assertEqual(target.receive(5), b"hello")
        for each in (client, target):
            each.socket.close()
        listening.close()


class AttackTests(LoginTests):
    """
    Somebody guesses.
    """

    def test_attack(self) -> None:
        """
        Two thousand guesses from one address: it is refused after a few, with the
        right password as well; others are served all the while, and by the same
        name, too.
        """
        proxy = self.startProxy(
            *("--port", "0", "--auth", self.users()),
            *("--login-pause", "0.01", "--login-max-pause", "0.05"),
        )

        def guess(number: int) -> bytes:
            client = self.connected(proxy, "127.0.0.2")
            return self.login(client, b"alice", b"s3cret-guess-%d" % number)

        served = 0
        with ThreadPoolExecutor(ATTACKERS) as attackers:
            guesses = [attackers.submit(guess, number) for number in range(GUESSES)]
            while not all(each.done() for each in guesses) or not served:
                client = self.connected(proxy)
                self.assertEqual(self.login(client, b"alice", PASSWORD), b"\1\0")
                self.assertServed(client)
                served += 1
        self.assertEqual({each.result() for each in guesses}, {b"\1\1"})
        refused = self.connected(proxy, "127.0.0.2")
        self.assertEqual(self.login(refused, b"alice", PASSWORD), b"\1\1")
        other = self.connected(proxy, "127.0.0.3")
        self.assertEqual(self.login(other, b"alice", PASSWORD), b"\1\0")
        self.assertServed(other)
        self.assertStops(proxy)
        self.assertQuiet(proxy)
        failures = re.findall(r"(\S+) failed to log in as alice\n", proxy.log)
        self.assertEqual(failures, ["127.0.0.2"] * 20)
        bans = re.findall(r"\] (.* is refused .*)\n", proxy.log)
        self.assertEqual(bans, ["127.0.0.2 is refused for 600 s: 20 logins failed"])
        refusals = proxy.log.count("too many logins from its address have failed")
        self.assertEqual(refusals, GUESSES - 20 + 1)
        self.assertNotIn(PASSWORD.decode(), proxy.log)
        self.assertNotIn("guess-", proxy.log)

    def test_workers(self) -> None:
        """
        Each of several workers counts for itself, and its lines are in the log.
        """
        proxy = self.startWorkers(
            *("--auth", self.users()),
            *("--login-pause-after", "0", "--login-ban-after", "2"),
        )
        for number in range(40):
            client = self.connected(proxy, "127.0.0.2")
            answer = self.login(client, b"alice", b"s3cret-guess-%d" % number)
            self.assertEqual(answer, b"\1\1")
        self.until(
            lambda: proxy.log.count("is refused for 600 s: 2 logins failed"),
            "nobody is refused",
        )
        self.assertLessEqual(proxy.log.count("failed to log in as alice"), 4)
        self.assertStops(proxy)
        self.assertNotIn("guess-", proxy.log)


@needs("fail2ban-regex")
class Fail2banTests(LoginTests):
    """
    The filter for fail2ban, against what a proxy has written.
    """

    def found(self, log: str, mode: str) -> list[str]:
        """
        The addresses that fail2ban finds.
        """
        path = Path(self.directory()) / "log"
        path.write_text(log)
        finished = self.run_(
            *("fail2ban-regex", "-o", "ip", str(path)),
            f"{sourceFile(FILTER)}[mode={mode}]",
        )
        self.assertEqual(finished.status, 0, repr(finished))
        return finished.output.split()

    def _attack(self, proxy: Proxy) -> None:
        """
        Three failures, of which two try to blame somebody else.
        """
        forged = (
            b"x\n2026-11-27T22:31:33+0000 [socksproxy.auth.throttle#info] 192.0.2.9 "
            b"failed to log in as bob"
        )
        for user in (b"alice", forged):
            client = self.connected(proxy, "127.0.0.2")
            self.assertEqual(self.login(client, user, b"s3cret guess"), b"\1\1")
        client = self.connected(proxy, "127.0.0.3")
        forged = b"bob 192.0.2.9 failed to log in as bob"
        self.assertEqual(self.login(client, forged, b"s3cret guess"), b"\1\1")
        client = self.connected(proxy)
        self.assertEqual(self.login(client, b"alice", PASSWORD), b"\1\0")
        self.assertServed(client)
        self.assertStops(proxy)

    def test_filter(self) -> None:
        """
        It finds each failure and the ban, and nobody who is innocent.
        """
        proxy = self.startProxy(
            "--port", "0", "--auth", self.users(), "--login-ban-after", "2"
        )
        self._attack(proxy)
        self.assertEqual(
            self.found(proxy.log, "failures"), ["127.0.0.2", "127.0.0.2", "127.0.0.3"]
        )
        self.assertEqual(self.found(proxy.log, "bans"), ["127.0.0.2"])

    def test_workers(self) -> None:
        """
        The same where the lines are those of workers.
        """
        proxy = self.startWorkers("--auth", self.users())
        self._attack(proxy)
        self.assertEqual(
            self.found(proxy.log, "failures"), ["127.0.0.2", "127.0.0.2", "127.0.0.3"]
        )

    def test_IPv6(self) -> None:
        """
        Of IPv6 a failure has the address, and a ban the /64.
        """
        log = StringIO()
        observer = textFileLogObserver(log)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        throttle = Throttle(Clock(), GuessLimits(banAfter=1))
        for host in ("2001:db8:1:2::7", "::1"):
            throttle.attempt(IPv6Address("TCP", host, 40000), b"alice").wrong()
        self.assertEqual(
            self.found(log.getvalue(), "failures"), ["2001:db8:1:2::7", "::1"]
        )
        self.assertEqual(
            self.found(log.getvalue(), "bans"), ["2001:db8:1:2::/64", "::1"]
        )


class ExemptTests(LoginTests):
    """
    Some need no login.
    """

    def test_from(self) -> None:
        """
        Those of a network, and those of UNIX sockets, are not asked; others are.
        """
        path = str(Path(self.directory()) / "socks")
        proxy = self.startProxy(
            *("--port", "0", "--listen", f"unix:{path}", "--auth", self.users()),
            *("--no-auth-from", "127.0.0.2/31", "--no-auth-from", "unix"),
            listeners=2,
        )
        for source in ("127.0.0.2", "127.0.0.3"):
            client = self.connected(proxy, source)
            self.assertEqual(client.greet(b"\x00\x02"), b"\x05\x00")
            self.assertServed(client)
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client = self.client(Client(unix))
        # It is in the log before it is there.
        self.until(lambda: unix.connect_ex(path) == 0, "there is no UNIX socket")
        self.assertEqual(client.greet(), b"\x05\x00")
        self.assertServed(client)
        client = self.connected(proxy)
        self.assertEqual(client.greet(), b"\x05\xff")
        client = self.connected(proxy)
        self.assertEqual(self.login(client, b"alice", PASSWORD), b"\1\0")
        self.assertServed(client)

    def test_on(self) -> None:
        """
        At one listener nobody is asked, at the other everybody is.
        """
        proxy = self.startProxy(
            *("--listen", "tcp:0:interface=127.0.0.1", "--auth", self.users()),
            *("--listen", "tcp:0:interface=127.0.0.3", "--no-auth-on", "127.0.0.3"),
            listeners=2,
        )
        asked, unasked = (
            self.client(Client(socket.create_connection((host, port), PATIENCE)))
            for host, port in zip(("127.0.0.1", "127.0.0.3"), proxy.ports, strict=True)
        )
        self.assertEqual(asked.greet(), b"\x05\xff")
        self.assertEqual(unasked.greet(), b"\x05\x00")
        self.assertServed(unasked)

    def test_nobodyElse(self) -> None:
        """
        Without a login for the others there is no way in for them: it is no open
        proxy, and may listen where they can reach it.
        """
        proxy = self.startWorkers(
            "--interface", "0.0.0.0", "--no-auth-from", "127.0.0.2"
        )
        self.assertEqual(self.connected(proxy).greet(b"\x00\x02"), b"\x05\xff")
        self.assertEqual(self.connected(proxy, "127.0.0.2").greet(), b"\x05\x00")


class DocumentTests(LoginTests):
    """
    What F{docs/logins.rst} says.
    """

    def setUp(self) -> None:
        self.text = sourceFile("docs/logins.rst").read_text()

    def test_program(self) -> None:
        """
        Its program runs: it has a slow hash, and somebody who needs no login.
        """
        found = re.search(r":name: logins.tac\n\n((?:   .*\n|\n)+)", self.text)
        assert found is not None
        printed = textwrap.dedent(found[1])
        self.assertEqual(printed.count("1080"), 1)
        tac = Path(self.directory()) / "logins.tac"
        tac.write_text(printed.replace("1080", "0"))
        proxy = self.startProcess(
            [script("twistd"), "-n", "--pidfile=", "--no_save", "-y", str(tac)]
        )
        self.until(lambda: proxy.ports, f"it does not listen: {proxy.errors}")
        for _ in range(2):
            client = self.connected(proxy)
            self.assertEqual(self.login(client, b"alice", b"correct horse"), b"\1\0")
            self.assertServed(client)
        for user in (b"alice", b"bob"):
            client = self.connected(proxy)
            self.assertEqual(self.login(client, user, b"s3cret guess"), b"\1\1")
        client = self.connected(proxy, "127.0.0.2")
        self.assertEqual(client.greet(), b"\5\0")
        self.assertServed(client)
        self.assertStops(proxy)
        self.assertQuiet(proxy)
        for secret in ("correct horse", "guess"):
            self.assertNotIn(secret, proxy.log)

    def test_commands(self) -> None:
        """
        Its commands are understood, and its defaults are the true ones.
        """
        users = self.users()
        found = re.findall(r"^ {4}twistd .*?socks5 (.*)$", self.text, re.M)
        self.assertGreater(len(found), 3)
        for line in found:
            Options().parseOptions(line.replace("file:users", users).split())
        options = Options()
        table = re.findall(r"^``--([a-z-]+)`` +([0-9]+)  ", self.text, re.M)
        self.assertEqual(len(table), 6)
        for name, default in table:
            self.assertEqual(float(options[name]), float(default), name)
