"""
The examples of the documentation, run as they are printed.
"""

from __future__ import annotations

import doctest
import os
import re
import runpy
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

from socksproxy.test.processes import Client, Finished, ProgramTestCase, Proxy
from socksproxy.test.source import sourceFile

SECRET = "s3cret horse"


class ChallengeTests(ProgramTestCase):
    """
    C{docs/examples/challenge.py} and its client.
    """

    def setUp(self) -> None:
        self.server = sourceFile("docs/examples/challenge.py")
        self.clientProgram = sourceFile("docs/examples/challenge_client.py")

    def start(self) -> tuple[Proxy, int]:
        users = Path(self.directory(), "users")
        users.write_text(f"alice:{SECRET}\nbob:other\n")
        port = self.freePort()
        program = self.startProcess(
            [sys.executable, str(self.server), str(users), str(port)]
        )
        self.connected(port).socket.close()
        return program, port

    def connect(self, port: int, name: str, secret: str, target: str) -> Finished:
        """
        Run the client.
        """
        return self.run_(
            *("env", f"SECRET={secret}"),
            *(sys.executable, str(self.clientProgram)),
            *(f"127.0.0.1:{port}", name, target),
            stdin=b"question",
        )

    def test_both(self) -> None:
        """
        Who knows the secret is let in, and nobody else.
        """
        program, port = self.start()
        listening = self.listener()

        def echo() -> None:
            connected, _ = listening.accept()
            with connected:
                connected.sendall(b"answer to " + Client(connected).receive(99))

        serving = threading.Thread(target=echo)
        serving.start()
        target = f"localhost:{listening.getsockname()[1]}"
        done = self.connect(port, "alice", SECRET, target)
        serving.join()
        self.assertEqual((done.status, done.output), (0, "answer to question"))
        for name, secret in (("alice", "other"), ("mallory", SECRET), ("", "")):
            done = self.connect(port, name, secret, target)
            self.assertEqual(done.status, 1)
            self.assertIn("does not know this name and secret", done.errors)
        listening.close()
        done = self.connect(port, "bob", "other", target)
        self.assertIn("reply 05", done.errors)
        program.terminate()
        self.assertEqual(program.errors, "")

    def hello(self, port: int) -> tuple[Client, bytes]:
        """
        A client that has been challenged, and the nonce.
        """
        client = self.connected(port)
        self.assertEqual(client.greet(b"\x80"), b"\x05\x80")
        challenge = client.receive(33)
        self.assertEqual(challenge[:1], b"\x01")
        return client, challenge[1:]

    def test_noncesDiffer(self) -> None:
        """
        What somebody has listened to is of no use on another connection.
        """
        program, port = self.start()
        nonces = {self.hello(port)[1] for _ in range(10)}
        self.assertEqual(len(nonces), 10)
        proofOf = self.module()["proofOf"]
        client, nonce = self.hello(port)
        mine = bytes(32)
        proof = proofOf(SECRET.encode(), nonce, mine, b"alice")
        answer = b"\x01" + mine + b"\x05alice" + proof
        client.socket.sendall(answer)
        self.assertEqual(client.receive(2), b"\x01\x00")
        other, _ = self.hello(port)
        # In pieces, as TCP may deliver it.
        for byte in answer:
            other.socket.sendall(bytes((byte,)))
        self.assertEqual(other.receive(3), b"\x01\x01")
        wrong, _ = self.hello(port)
        wrong.socket.sendall(b"\x07")
        self.assertEqual(wrong.receive(3), b"\x01\x01")
        program.terminate()
        self.assertEqual(program.errors, "")

    def module(self) -> dict[str, Any]:
        """
        What the example has in it.
        """
        return runpy.run_path(str(self.server))

    def test_printed(self) -> None:
        """
        What the page on authenticators prints of it is what is tested here.
        """
        page = sourceFile("docs/authenticators.rst").read_text()
        program = self.server.read_text()
        printed = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", page)
        self.assertGreater(len(printed), 1)
        for block in printed:
            self.assertIn(textwrap.dedent(block).strip("\n"), program)
        sys.path.insert(0, str(self.server.parent))
        self.addCleanup(sys.path.remove, str(self.server.parent))
        path = str(sourceFile("docs/authenticators.rst"))
        failed, tried = doctest.testfile(path, module_relative=False)
        self.assertEqual((failed, tried), (0, 6))
        for command in re.findall(r"^ +(python3 docs/examples/.*)$", page, re.M):
            self.assertTrue(os.path.exists(sourceFile(command.split()[1])))
