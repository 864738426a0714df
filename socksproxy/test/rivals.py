"""
Other people's proxies, in processes of their own.
"""

from __future__ import annotations

import hashlib
import socket
import threading
from pathlib import Path

from socksproxy.test.processes import PATIENCE, ProgramTestCase, Proxy

__all__ = ["RivalTestCase"]

DANTE = """
errorlog: stderr
internal: 127.0.0.1 port = {port}
external: lo
clientmethod: none
socksmethod: none
client pass {{ from: 0/0 to: 0/0 }}
socks pass {{ from: 0/0 to: 0/0 command: connect bind udpassociate }}
socks pass {{ from: 0/0 to: 0/0 command: bindreply udpreply }}
"""

TINYPROXY = """
Listen 127.0.0.1
Port {port}
Timeout 60
MaxClients 50
LogLevel Critical
"""


class RivalTestCase(ProgramTestCase):
    """
    Tests with them.
    """

    def sayDigests(self, listening: socket.socket, greeting: bytes = b"") -> None:
        """
        Be a target, in threads, that says C{greeting}, takes all that comes, and says
        after the end what its digest is.
        """

        def accept() -> None:
            while True:
                try:
                    accepted, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(accepted,), daemon=True).start()

        def talk(accepted: socket.socket) -> None:
            with accepted:
                accepted.settimeout(PATIENCE)
                digest = hashlib.sha256()
                try:
                    accepted.sendall(greeting)
                    while data := accepted.recv(1 << 16):
                        digest.update(data)
                    accepted.sendall(digest.hexdigest().encode())
                except OSError:
                    pass

        threading.Thread(target=accept, daemon=True).start()

    def _started(self, proxy: Proxy, port: int) -> Proxy:
        """
        Wait until it listens.
        """

        def listens() -> bool:
            if proxy.process.poll() is not None:
                self.fail(f"it ended: {proxy.log}\n{proxy.errors}")
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                return False
            return True

        self.until(listens, f"nobody listens on port {port}")
        return proxy

    def _configured(self, text: str, port: int) -> str:
        path = Path(self.directory()) / "conf"
        path.write_text(text.format(port=port))
        return str(path)

    def certificate(self) -> str:
        """
        A throwaway key and certificate for localhost.

        @return: the path of both in one PEM file.
        """
        path = str(Path(self.directory()) / "localhost.pem")
        made = self.run_(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-keyout", path, "-out", f"{path}.crt", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-days", "2"),
        )
        self.assertEqual(made.status, 0, repr(made))
        with open(path, "a") as file:
            file.write(Path(f"{path}.crt").read_text())
        return path

    def startDante(self) -> int:
        """
        @return: its port.
        """
        port = self.freePort()
        path = self._configured(DANTE, port)
        command = ["danted", "-N", "1", "-f", path, "-p", path + ".pid"]
        dante = self.startProcess(command)
        self._started(dante, port)
        # It has processes of its own, which end when it is told to.
        self.addCleanup(dante.terminate)
        return port

    def startMicrosocks(self, *options: str) -> int:
        """
        @return: its port.
        """
        port = self.freePort()
        where = ("-i", "127.0.0.1", "-p", str(port))
        self._started(self.startProcess(["microsocks", *where, *options]), port)
        return port

    def startTinyproxy(self, more: str = "") -> int:
        """
        @return: its port.
        """
        port = self.freePort()
        path = self._configured(TINYPROXY + more, port)
        self._started(self.startProcess(["tinyproxy", "-d", "-c", path]), port)
        return port
