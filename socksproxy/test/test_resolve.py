"""
RESOLVE and RESOLVE_PTR with Tor's own programs, each against a real C{twistd} process.
"""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any

from twisted.names import dns

from socksproxy.test.nameserver import NameServer, record
from socksproxy.test.processes import Finished, ProcessTestCase, Proxy, needs
from socksproxy.test.test_replies import NamespaceTestCase

FETCH = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as target:
    target.sendall(b"hello")
    print(target.recv(5).decode())
"""

ECHO = """
import socket
with socket.create_server(("198.51.100.1", 0)) as listening:
    print("echoes on", listening.getsockname()[1], flush=True)
    connection, _ = listening.accept()
    with connection:
        connection.sendall(connection.recv(5))
"""


class ResolveTests(ProcessTestCase):
    """
    C{tor-resolve}.
    """

    def resolve(self, proxy: Proxy, *arguments: str) -> Finished:
        return self.run_("tor-resolve", *arguments, f"127.0.0.1:{proxy.port}")

    @needs("tor-resolve")
    def test_system(self) -> None:
        """
        What the system knows.
        """
        proxy = self.startProxy()
        self.assertEqual(self.resolve(proxy, "localhost").output, "127.0.0.1\n")
        self.assertEqual(self.resolve(proxy, "-x", "127.0.0.1").output, "localhost\n")
        self.assertNotEqual(self.resolve(proxy, "nowhere.invalid").status, 0)
        self.assertIn("RESOLVE localhost:0 via 127.0.0.1:0", proxy.log)
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    @needs("tor-resolve")
    def test_dns(self) -> None:
        """
        What a name server knows, which is remembered.
        """
        server = NameServer()
        questions = []

        def serve() -> None:
            while True:
                try:
                    question = server.question()
                except EOFError:
                    return  # An empty one.
                questions.append(question.type)
                payload: Any = None
                if question.type == dns.PTR:
                    payload = dns.Record_PTR(b"example.org")
                elif question.type == dns.A:
                    payload = dns.Record_A("192.0.2.1")
                else:
                    payload = dns.Record_AAAA("2001:db8::1")
                server.answer(question, record(question.name, payload))

        thread = threading.Thread(target=serve)
        thread.start()
        proxy = self.startProxy("--port", "0", "--resolver", f"dns:{server.address}")
        for _ in range(2):
            found = self.resolve(proxy, "example.org")
            self.assertEqual(found.output, "192.0.2.1\n", repr(found))
            found = self.resolve(proxy, "-x", "192.0.2.1")
            self.assertEqual(found.output, "example.org\n", repr(found))
        self.assertEqual(sorted(questions), [dns.A, dns.PTR, dns.AAAA])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stopping:
            stopping.sendto(b"", (server.address.host, server.address.port))
        thread.join()
        server.close()
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    @needs("tor-resolve")
    def test_socks4a(self) -> None:
        """
        The same over SOCKS4a.
        """
        proxy = self.startProxy()
        finished = self.resolve(proxy, "-4", "localhost")
        self.assertEqual(finished.output, "127.0.0.1\n", repr(finished))
        finished = self.resolve(proxy, "-4", "nowhere.invalid")
        self.assertNotEqual(finished.status, 0)
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    @needs("tor-resolve")
    def test_switchedOff(self) -> None:
        """
        C{--no-resolve}.
        """
        proxy = self.startProxy("--port", "0", "--no-resolve")
        finished = self.resolve(proxy, "localhost")
        self.assertNotEqual(finished.status, 0)
        self.assertIn("(reply 07)", proxy.log)


class TorsocksTests(NamespaceTestCase):
    """
    C{torsocks}, which takes no target on loopback.
    """

    @needs("torsocks")
    def test_torsocks(self) -> None:
        """
        A program looks up a name, and connects, by way of the proxy alone.
        """
        self.ip(self.a, "addr add 198.51.100.1/32 dev lo")
        within = ("ip", "netns", "exec", self.a)
        proxy = self.startProxy(prefix=within)
        echo = self.startProcess([*within, sys.executable, "-c", ECHO])
        self.until(lambda: "echoes on" in echo.log, "nobody listens")
        port = echo.log.split()[-1]
        # A name to everybody but the C library of the proxy's.
        name = "0xC6336401"
        finished = self.run_(
            *within,
            *("torsocks", "-P", str(proxy.port), sys.executable, "-c", FETCH),
            *(name, port),
        )
        self.assertEqual(finished.output, "hello\n", repr(finished))
        self.assertIn(f"RESOLVE {name}:", proxy.log)
        self.assertIn(f"CONNECT 198.51.100.1:{port} via", proxy.log)
        self.assertQuiet(proxy)
