"""
The programs of F{docs/examples} that connect through a proxy, run as they are.
"""

from __future__ import annotations

import re
import shutil
import socket
import sys
import threading
from pathlib import Path

from twisted.names import dns

from socksproxy.test.processes import (
    PATIENCE,
    Client,
    Finished,
    ProcessTestCase,
    Proxy,
    script,
)
from socksproxy.test.source import sourceFile


class ExampleTests(ProcessTestCase):
    """
    They work.
    """

    def setUp(self) -> None:
        # They are run without the checkout on the path.
        self.examples = Path(self.directory()) / "examples"
        shutil.copytree(sourceFile("docs/examples"), self.examples)

    def runExample(self, name: str, *arguments: str) -> Finished:
        finished = self.run_(sys.executable, str(self.examples / name), *arguments)
        self.assertEqual(finished.status, 0, repr(finished))
        return finished

    def startExample(self, name: str, *arguments: str) -> Proxy:
        return self.startProcess(
            [sys.executable, "-u", str(self.examples / name), *arguments]
        )

    def test_get(self) -> None:
        """
        treq, through our endpoint: the proxy gets the names.
        """
        proxy = self.startProxy()
        listening = self.listener()
        port = listening.getsockname()[1]

        def serve() -> None:
            accepted, _ = listening.accept()
            with accepted:
                accepted.settimeout(PATIENCE)
                for _ in range(2):
                    request = b""
                    while not request.endswith(b"\r\n\r\n"):
                        request += accepted.recv(4096)
                    accepted.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
                    )

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://localhost:{port}/"
        finished = self.runExample("get.py", f"tcp:127.0.0.1:{proxy.port}", url)
        self.assertEqual(finished.output, "hello\n")
        self.assertIn(f" CONNECT localhost:{port} ", proxy.log)

    def test_perspectiveBroker(self) -> None:
        """
        Perspective Broker, through an endpoint of a description.
        """
        proxy = self.startProxy()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = self.startExample("pbserver.py", str(port))
        self.until(lambda: "starting on" in server.log, "the server does not listen")
        finished = self.runExample(
            "pbclient.py",
            f"socks5:127.0.0.1:{proxy.port}:host=localhost:hostPort={port}",
            "hello",
        )
        self.assertEqual(finished.output, "hello\n")
        self.assertIn(f" CONNECT localhost:{port} ", proxy.log)
        self.assertQuiet(proxy)

    def test_ftpData(self) -> None:
        """
        BIND.
        """
        proxy = self.startProxy()
        waiting = self.startExample(
            "ftpdata.py", f"tcp:127.0.0.1:{proxy.port}", "127.0.0.1"
        )
        self.until(lambda: "\n" in waiting.log, "the proxy does not listen for us")
        host, _, port = waiting.log.strip().rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            name = "{}:{}".format(*server.getsockname())
            server.sendall(b"a file\n")
        self.assertEqual(waiting.process.wait(PATIENCE), 0, waiting.errors)
        self.assertEqual(waiting.log, f"{host}:{port}\n{name}\na file\n")

    def test_perUser(self) -> None:
        """
        Each user's target sees where he comes from.
        """
        other = self.startProxy()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        program = self.startProcess(
            [
                *("env", f"PORT={port}", f"VIA=socks5://127.0.0.1:{other.port}"),
                *(script("twistd"), "-n", "--pidfile=", "--no_save"),
                *("-y", str(self.examples / "peruser.tac")),
            ]
        )
        self.until(lambda: "starting on" in program.log, "it does not listen")
        listening = self.listener()
        where = listening.getsockname()
        for user, host in ((b"alice", "127.0.0.2"), (b"bob", ""), (b"carol", "")):
            client = self.client(
                Client(socket.create_connection(("127.0.0.1", port), PATIENCE))
            )
            client.greet(b"\x02")
            login = bytes((1, len(user))) + user + b"\x01" + user[:1]
            client.socket.sendall(login)
            self.assertEqual(client.receive(2), b"\x01\x00")
            code, _ = client.request(*where)
            self.assertEqual(code, 0)
            target = self.accept(listening)
            self.assertEqual(target.socket.getpeername()[0], host or "127.0.0.1")
        self.until(lambda: " CONNECT " in other.log, "it did not go the other way")
        # All of it is there once it has stopped.
        self.assertStops(other)
        self.assertEqual(len(re.findall(r" CONNECT \S+ via \S+$", other.log, re.M)), 1)
        self.assertQuiet(program)

    def test_lookUp(self) -> None:
        """
        UDP ASSOCIATE.
        """
        proxy = self.startProxy()
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE)

        def serve() -> None:
            data, client = server.recvfrom(4096)
            message = dns.Message()
            message.fromStr(data)
            message.answer = 1
            name = message.queries[0].name.name
            message.answers = [dns.RRHeader(name, payload=dns.Record_A("192.0.2.7"))]
            server.sendto(message.toStr(), client)

        threading.Thread(target=serve, daemon=True).start()
        finished = self.runExample(
            "lookup.py",
            f"tcp:127.0.0.1:{proxy.port}",
            "127.0.0.1",
            str(server.getsockname()[1]),
            "example.com",
        )
        self.assertEqual(finished.output, "192.0.2.7\n")
