"""
The README's programs, run as they are printed, and what else it says.
"""

from __future__ import annotations

import re
import signal
import socket
import sys
import textwrap
from pathlib import Path

from socksproxy.server.factory import Limits
from socksproxy.tap import Options
from socksproxy.test.processes import PATIENCE, Client, ProgramTestCase, script
from socksproxy.test.source import sourceFile


class ReadmeTests(ProgramTestCase):
    """
    The README is right.
    """

    def setUp(self) -> None:
        self.text = sourceFile("README.rst").read_text()

    def snippet(self, name: str, port: int) -> str:
        """
        The program of that name, but for the port.
        """
        found = re.search(
            rf"\.\. code-block:: python\n   :name: {name}\n\n((?:   .*\n|\n)+)",
            self.text,
        )
        assert found is not None
        printed = textwrap.dedent(found[1])
        self.assertEqual(printed.count("1080"), 1)
        return printed.replace("1080", str(port))

    def test_tac(self) -> None:
        """
        The proxy runs as a part of a C{.tac}.
        """
        port = self.freePort()
        tac = Path(self.directory()) / "proxy.tac"
        tac.write_text(self.snippet("proxy.tac", port))
        self.assertLessEqual(len(tac.read_text().splitlines()), 10)
        program = self.startProcess(
            [script("twistd"), "-n", "--pidfile=", "--no_save", "-y", str(tac)]
        )
        client = self.connected(port)
        self.assertEqual(client.greet(), b"\x05\x00")
        target = self.reached(client)
        client.socket.close()
        target.socket.close()
        # A Twisted program ends by the signal that stopped it.
        self.assertEqual(program.terminate(), -signal.SIGTERM)
        self.assertQuiet(program)

    def test_program(self) -> None:
        """
        It runs in a program of one's own, with a connector and an
        authenticator of one's own.
        """
        port = self.freePort()
        path = Path(self.directory()) / "program.py"
        path.write_text(self.snippet("program.py", port))
        program = self.startProcess([sys.executable, str(path)])
        client = self.connected(port)
        self.assertEqual(client.greet(b"\x00\x80"), b"\x05\x80")
        client.socket.sendall(b"\x2a")
        self.assertEqual(client.receive(1), b"\x00")
        listening = self.listener()
        code, _ = client.request("elsewhere.example", listening.getsockname()[1])
        self.assertEqual(code, 0)
        target = self.accept(listening)
        target.socket.sendall(b"hello")
        self.assertEqual(client.receive(5), b"hello")
        stranger = self.connected(port)
        stranger.greet(b"\x80")
        stranger.socket.sendall(b"\x2b")
        self.assertEqual(stranger.receive(2), b"\x01")
        client.socket.close()
        target.socket.close()
        stranger.socket.close()
        program.terminate()
        self.assertEqual(program.errors, "")

    def test_binder(self) -> None:
        """
        BIND listens on the ports that a client has by the connector of one's
        own.
        """
        port = self.freePort()
        tac = Path(self.directory()) / "binder.tac"
        tac.write_text(self.snippet("binder.tac", port))
        program = self.startProcess(
            [script("twistd"), "-n", "--pidfile=", "--no_save", "-y", str(tac)]
        )
        client = self.connected(port)
        client.greet()
        code, bound = client.request("127.0.0.1", 0, 2)
        self.assertEqual(code, 0)
        self.assertIn(bound[1], range(20000, 20010))
        target = self.client(Client(socket.create_connection(bound)))
        self.assertEqual(client.send(b""), (0, target.socket.getsockname()))
        stranger = self.client(
            Client(
                socket.create_connection(("127.0.0.1", port), None, ("127.0.0.2", 0))
            )
        )
        stranger.greet()
        self.assertEqual(stranger.request("127.0.0.1", 0, 2)[0], 2)
        client.socket.close()
        target.socket.close()
        program.terminate()
        self.assertQuiet(program)

    def test_echo(self) -> None:
        """
        A connector of one's own can serve UDP ASSOCIATE.
        """
        port = self.freePort()
        path = Path(self.directory()) / "echo.py"
        path.write_text(self.snippet("echo.py", port))
        program = self.startProcess([sys.executable, str(path)])
        client = self.connected(port)
        self.assertEqual(client.greet(), b"\x05\x00")
        code, bound = client.request("0.0.0.0", 0, 3)
        self.assertEqual(code, 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(PATIENCE)
            udp.sendto(b"\0\0\0\3\1a\0\7hello", bound)
            answer, source = udp.recvfrom(99)
        self.assertEqual(answer, b"\0\0\0\1\xc0\0\2\1\0\7hello")
        self.assertEqual(source, bound)
        client.socket.close()
        program.terminate()
        self.assertEqual(program.errors, "")

    def test_dialect(self) -> None:
        """
        A protocol of one's own is served beside the others; see docs/dialects.rst.
        """
        self.text = sourceFile("docs/dialects.rst").read_text()
        port = self.freePort()
        path = Path(self.directory()) / "dialect.py"
        path.write_text(self.snippet("dialect.py", port))
        program = self.startProcess([sys.executable, str(path)])
        listening = self.listener()
        line = b"@ 127.0.0.1 %d\n" % listening.getsockname()[1]
        client = self.connected(port)
        client.socket.sendall(line + b"early")
        self.assertEqual(client.receive(3), b"ok\n")
        target = self.accept(listening)
        self.assertEqual(target.receive(5), b"early")
        target.socket.sendall(b"hello")
        self.assertEqual(client.receive(5), b"hello")
        for data, answer in (
            (b"@ 127.0.0.1 0\n", b"failed\n"),
            (b"@ nonsense\n", b"bad\n"),
            (b"@" * 400, b""),
            (b"\x05\x01\x00", b"\x05\x00"),
            (b"\x04\x01\0\0\1\2\3\4\0", b"\0\x5b" + bytes(6)),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 400 "),
        ):
            other = self.connected(port)
            other.socket.sendall(data)
            self.assertEqual(other.receive(len(answer)), answer)
        client.socket.close()
        target.socket.close()
        program.terminate()
        self.assertEqual(program.errors, "")

    def test_options(self) -> None:
        """
        The options and their defaults are those of the table.
        """
        options = Options()
        table = re.findall(r"^``--([a-z-]+)`` +([0-9]+)  ", self.text, re.M)
        self.assertEqual(len(table), 21)
        for name, default in table:
            self.assertEqual(float(options[name]), float(default), name)
        self.assertEqual(float(options["idle-timeout"]), Limits().idleTimeout)

    def test_commands(self) -> None:
        """
        Every command line that the README prints is one that is understood.
        """
        users = Path(self.directory()) / "users"
        users.write_text(f"alice:$2y$05${'.' * 53}\n")
        found = re.findall(r"^ {4}twistd -n socks5 (.*)$", self.text, re.M)
        self.assertGreater(len(found), 3)
        for line in found:
            words = line.replace("'", "").replace(":users", f":{users}")
            Options().parseOptions(words.split())
