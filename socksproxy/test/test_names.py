"""
Names, with a real C{twistd} and real name servers.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import threading
from unittest import SkipTest

from twisted.names import dns

from socksproxy.test.nameserver import NameServer, Question, record
from socksproxy.test.processes import PATIENCE, ProcessTestCase, Proxy

SESSIONS = 500


class ManyNamesTests(ProcessTestCase):
    """
    Many names at a time.
    """

    def test_noCap(self) -> None:
        """
        A name server that says nothing until it has been asked for 500 names
        is asked for all of them: however slow it is, nobody waits for another
        one's name.
        """
        server = NameServer()
        self.addCleanup(server.close)
        target = self.listener(backlog=SESSIONS)
        port = target.getsockname()[1]
        proxy = self.startProxy(
            *("--port", "0", "--resolver", f"dns:{server.address}"),
            *("--connect-timeout", str(PATIENCE)),
        )
        clients = [self.client(proxy.greeted()) for _ in range(SESSIONS)]
        for number, client in enumerate(clients):
            name = b"host%d.example.org" % number
            head = b"\x05\x01\x00\x03" + bytes((len(name),))
            client.socket.sendall(head + name + struct.pack("!H", port))
        asked: set[bytes] = set()
        questions: list[Question] = []
        while len(asked) < SESSIONS:
            questions.append(server.question())
            asked.add(questions[-1].name)
        stopped = threading.Event()
        answering = threading.Thread(
            target=self.answerAll, args=(server, questions, stopped)
        )
        answering.start()
        try:
            for client in clients:
                self.assertEqual(client.receive(10)[:2], b"\x05\x00")
        finally:
            stopped.set()
            answering.join()
        for client in clients:
            client.socket.close()
        self.assertQuiet(proxy)

    def answerAll(
        self, server: NameServer, questions: list[Question], stopped: threading.Event
    ) -> None:
        """
        Answer what has been asked, and what will be.
        """
        server.socket.settimeout(0.05)
        here = record(b"", dns.Record_A("127.0.0.1"))
        while not stopped.is_set():
            for question in questions:
                here.name = question.message.queries[0].name
                isA = question.type == dns.A
                server.answer(question, *([here] if isA else []))
            questions = []
            try:
                questions.append(server.question())
            except TimeoutError:
                continue

    def test_leaving(self) -> None:
        """
        A name that everybody has left is not asked for any longer, and one
        that nobody answers for does not keep the proxy from ending.
        """
        server = NameServer()
        self.addCleanup(server.close)
        proxy = self.startProxy(
            *("--port", "0", "--resolver", f"dns:{server.address}", "--grace", "0")
        )
        before = proxy.descriptors
        for name in (b"a", b"b"):
            client = self.client(proxy.greeted())
            client.socket.sendall(b"\x05\x01\x00\x03\x01" + name + b"\x00\x50")
            while server.question().name != name:
                pass
            if name == b"a":
                self.assertEqual(proxy.descriptors, before + 2)
                client.reset()
                self.until(lambda: proxy.descriptors == before, "one stays open")
        self.assertStops(proxy)
        self.assertQuiet(proxy)


class DnsmasqTests(ProcessTestCase):
    """
    With a name server that everybody has.
    """

    def setUp(self) -> None:
        program = shutil.which("dnsmasq", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise SkipTest("dnsmasq is not installed: apt-get install dnsmasq-base")
        many = [f"--host-record=many.example,127.0.0.{n}" for n in range(1, 101)]
        self.server = self.dnsmasq(
            program,
            "--log-queries",
            "--host-record=four.example,127.0.0.1",
            "--host-record=six.example,::1",
            "--host-record=both.example,127.0.0.1,::1",
            "--cname=alias.example,second.example",
            "--cname=second.example,four.example",
            "--host-record=_under_score.example,127.0.0.1",
            "--txt-record=text.example,nothing but text",
            "--host-record=xn--bcher-kva.example,127.0.0.1",
            *many,
        )

    def dnsmasq(self, *command: str) -> Proxy:
        """
        Start one, and a proxy that asks it.

        @return: the name server's process.
        """
        for _ in range(10):
            port = self.freePort()
            started = self.startProcess(
                [
                    *(*command, f"--port={port}", "--listen-address=127.0.0.1"),
                    *("--bind-interfaces", "--no-daemon", "--log-facility=-"),
                    *("--conf-file=/dev/null", "--no-hosts", "--no-resolv"),
                    *("--local=/example/", "--user=", "--group="),
                ]
            )
            if self.hasStarted(started):
                server = f"dns:127.0.0.1:{port}"
                self.proxy = self.startProxy("--port", "0", "--resolver", server)
                return started
        raise AssertionError(f"dnsmasq does not run: {started.errors}")

    def freePort(self) -> int:
        """
        A port that nobody uses right now; dnsmasq has no way to choose one.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            return int(free.getsockname()[1])

    def hasStarted(self, server: Proxy) -> bool:
        """
        Whether it runs, once that can be said.
        """
        self.until(
            lambda: "started" in server.errors or server.process.poll() is not None,
            "dnsmasq does not start",
        )
        return server.process.poll() is None

    def assertReached(self, name: str, host: str = "127.0.0.1") -> None:
        """
        C{name} leads to C{host}.
        """
        listening = self.listener(host)
        client = self.client(self.proxy.greeted())
        encoded = name.encode()
        port = listening.getsockname()[1]
        head = b"\x05\x01\x00\x03" + bytes((len(encoded),))
        code, _ = client.send(head + encoded + struct.pack("!H", port))
        self.assertEqual(code, 0, f"{name}: {self.proxy.log}")
        self.accept(listening)

    def assertNowhere(self, name: str, reason: str) -> None:
        """
        C{name} leads nowhere, and the log says why.
        """
        client = self.client(self.proxy.greeted())
        code, _ = client.request(name, 80)
        self.assertEqual(code, 4)
        self.until(lambda: reason in self.proxy.log, self.proxy.log)

    def test_addresses(self) -> None:
        """
        Names with an IPv4 address, with an IPv6 address and with both.
        """
        self.assertReached("four.example")
        self.assertReached("FOUR.example.")
        self.assertReached("six.example", "::1")
        self.assertReached("both.example", "::1")
        self.assertReached("both.example", "127.0.0.1")
        self.assertQuiet(self.proxy)

    def test_spellings(self) -> None:
        """
        Aliases, and names that some take for none.
        """
        self.assertReached("alias.example")
        self.assertReached("_under_score.example")
        self.assertReached("b\u00fccher.example")
        self.assertReached("localhost")
        self.assertReached("127.1")
        self.assertQuiet(self.proxy)

    def test_nowhere(self) -> None:
        """
        That there is no such name, that it has no address and that a server
        does not want to answer are told apart in the log.
        """
        self.assertNowhere("none.example", "there is no such name")
        self.assertNowhere("text.example", "the name has no address")
        self.assertNowhere("example.org", "a name server answers REFUSED")
        self.assertNowhere("a..b", "there cannot be such a name")
        self.assertQuiet(self.proxy)

    def test_truncated(self) -> None:
        """
        An answer that does not fit a datagram is asked for over TCP.
        """
        self.assertReached("many.example", "0.0.0.0")
        self.assertEqual(self.server.errors.count("query[A] many.example"), 2)
        self.assertQuiet(self.proxy)

    def test_serverGone(self) -> None:
        """
        A name server that is not there is no fault of the proxy.
        """
        self.server.kill()
        self.assertNowhere("four.example", "a name server does not answer")
        self.assertQuiet(self.proxy)
