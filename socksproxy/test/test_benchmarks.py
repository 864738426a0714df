"""
The benchmarks, with amounts so small that nothing is measured: they work.
"""

from __future__ import annotations

import sys
from pathlib import Path

from socksproxy.test.processes import Finished, ProcessTestCase, needs
from socksproxy.test.source import sourceFile

_LIAR = """
import socketserver, sys

class Liar(socketserver.StreamRequestHandler):
    def handle(self):
        for expected, answer in (3, "0500"), (10, "05000001" + "00" * 6), (9, "78"):
            self.rfile.read(expected)
            self.wfile.write(bytes.fromhex(answer))
        self.rfile.read()

class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 128
    daemon_threads = True

Server(("127.0.0.1", int(sys.argv[1])), Liar).serve_forever()
"""
"""
A proxy that connects to nothing, and makes up what it sends.
"""

_ROWS = """
start ms
idle KiB
idle descriptors
session us cpu
session /s
name us cpu
login us cpu
growth times
message us cpu
message /s
message us p99
lone us p50
bulk s/GiB cpu
bulk MiB/s
bulk8 s/GiB cpu
bulk8 MiB/s
upload s/GiB cpu
upload MiB/s
"""


@needs("cc")
class BenchmarkTests(ProcessTestCase):
    """
    C{benchmarks/compare.py}.
    """

    def compare(self, *arguments: str) -> Finished:
        """
        Run it.
        """
        return self.run_(
            *(sys.executable, "-B", str(sourceFile("benchmarks/compare.py"))),
            *("--scale", "0.001", "--rounds", "1", *arguments),
        )

    def test_rows(self) -> None:
        """
        Every row is there, and nothing fails.  There are figures, but of the
        processor time there may be too little to tell how it grows, and of
        the memory so little that what else was freed meanwhile outweighs it.
        """
        finished = self.compare("ours")
        self.assertEqual((finished.status, finished.errors), (0, ""), repr(finished))
        self.assertNotIn("failed", finished.output)
        for row in _ROWS.strip().splitlines():
            label = r" +".join(row.split(" ", 1))
            figure = "" if row == "growth times" else r" +-?[0-9.,]+$"
            self.assertRegex(finished.output, f"(?m)^{label}{figure}")

    def test_failed(self) -> None:
        """
        A proxy that does not deliver what was sent is told from one that does.
        """
        liar = Path(self.directory()) / "liar.py"
        liar.write_text(_LIAR)
        finished = self.compare(f"liar=exec {sys.executable} {liar} {{port}}", "--rst")
        self.assertEqual(finished.status, 1, repr(finished))
        for row in ("idle", "session", "name", "message", "lone", "bulk", "upload"):
            self.assertRegex(finished.output, rf"(?m)^{row} +failed +[1-9]")
        self.assertRegex(finished.errors, "load open: wrong bytes after 0")


class LoginBenchmarkTests(ProcessTestCase):
    """
    C{benchmarks/logins.py}.
    """

    def test_rows(self) -> None:
        """
        Each kind of hash has its row.
        """
        finished = self.run_(
            *(sys.executable, "-B", str(sourceFile("benchmarks/logins.py"))),
            *("--tries", "2", "--", "--handshake-timeout", "0"),
        )
        self.assertEqual((finished.status, finished.errors), (0, ""), repr(finished))
        for kind in ("bcrypt, cost 5", "bcrypt, cost 10", "argon2id", "SHA-512 crypt"):
            self.assertRegex(finished.output, rf"(?m)^{kind}( +[0-9.]+){{4}}$")
