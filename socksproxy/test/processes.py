"""
Real servers in processes of their own, and what tests want around them.

All of it lives on loopback, with ports that the system chose, and each process
is ended by its own id when its test is over.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from unittest import SkipTest, skipIf

from twisted.trial.unittest import SynchronousTestCase

__all__ = [
    "PATIENCE",
    "Client",
    "Finished",
    "ProcessTestCase",
    "ProgramTestCase",
    "Proxy",
    "needs",
    "script",
]

PATIENCE = 60.0
"""
Seconds after which a test gives up.  No test is expected to take as long, on
however slow a machine.
"""

_T = TypeVar("_T", bound=Callable[..., object])

_PACKAGES = {
    "nc": "netcat-openbsd",
    "ip": "iproute2",
    "cc": "gcc libc6-dev",
    "node": "nodejs",
    "socksify": "dante-client",
    "danted": "dante-server",
    "tinyproxy": "tinyproxy-bin",
    "krb5kdc": "krb5-kdc",
    "kdb5_util": "krb5-kdc",
    "kadmin.local": "krb5-admin-server",
    "kinit": "krb5-user",
    "java": "default-jdk-headless",
    "javac": "default-jdk-headless",
    "tor-resolve": "tor",
    "htpasswd": "apache2-utils",
    "mkpasswd": "whois",
    "fail2ban-regex": "fail2ban",
}
"""
The Debian package of a program, where it has another name.
"""


def needs(*programs: str) -> Callable[[_T], _T]:
    """
    Skip what is decorated, with a reason, unless C{programs} are installed.
    """
    for program in programs:
        if shutil.which(program) is None:
            package = _PACKAGES.get(program, program)
            return skipIf(
                True, f"{program} is not installed: apt-get install {package}"
            )
    return skipIf(False, "")


def script(name: str) -> str:
    """
    The path of a command that is installed beside the running interpreter.
    """
    beside = os.path.join(sysconfig.get_path("scripts"), name)
    found = beside if os.path.exists(beside) else shutil.which(name)
    if found is None:
        raise SkipTest(f"there is no command {name}")
    return found


class Client:
    """
    A SOCKS5 client of a few lines, that knows nothing of the package's own
    parsers.

    @ivar socket: a blocking socket with a timeout.
    """

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.socket.settimeout(PATIENCE)

    def receive(self, count: int) -> bytes:
        """
        Exactly C{count} bytes, or fewer where the connection ends before.
        """
        received = b""
        while len(received) < count:
            data = self.socket.recv(count - len(received))
            if not data:
                break
            received += data
        return received

    def greet(self, methods: bytes = b"\x00") -> bytes:
        """
        @return: the server's answer.
        """
        self.socket.sendall(bytes((5, len(methods))) + methods)
        return self.receive(2)

    def request(
        self, host: str, port: int, command: int = 1
    ) -> tuple[int, tuple[str, int]]:
        """
        @return: the reply's code, and BND.ADDR and BND.PORT.
        """
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            name = host.encode("ascii")
            encoded = bytes((3, len(name))) + name
        else:
            kind = 1 if address.version == 4 else 4
            encoded = bytes((kind,)) + address.packed
        return self.send(bytes((5, command, 0)) + encoded + struct.pack("!H", port))

    def send(self, request: bytes) -> tuple[int, tuple[str, int]]:
        """
        The same for any bytes.
        """
        self.socket.sendall(request)
        head = self.receive(4)
        if len(head) < 4 or head[0] != 5 or head[2] != 0 or head[3] not in (1, 4):
            raise AssertionError(f"this is no reply: {head!r}")
        bound = self.receive(4 if head[3] == 1 else 16)
        (port,) = struct.unpack("!H", self.receive(2))
        return head[1], (str(ipaddress.ip_address(bound)), port)

    def isReset(self) -> bool:
        """
        Whether the connection ends with a reset; what comes before is dropped.
        """
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            return True
        return False

    def reset(self) -> None:
        """
        Close with a reset.
        """
        self.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.socket.close()


SECRET = "s3cret"
"""
What passwords and keys of the tests have in them.  It is in no log.
"""


class Proxy:
    """
    A C{twistd -n socks5} that runs.

    @ivar process: the process.
    """

    def __init__(self, process: subprocess.Popen[bytes], directory: str) -> None:
        self.process = process
        self._directory = Path(directory)

    @property
    def log(self) -> str:
        """
        All that it has said so far.
        """
        return (self._directory / "out").read_text(errors="replace")

    @property
    def errors(self) -> str:
        """
        What it has said to its standard error.
        """
        return (self._directory / "err").read_text(errors="replace")

    @property
    def ports(self) -> list[int]:
        """
        The TCP ports that it listens on, in their order.
        """
        found = re.findall(
            r"SOCKS5Factory(?: \(TLS\))? starting on (\d+)$", self.log, 8
        )
        return [int(port) for port in found]

    @property
    def port(self) -> int:
        """
        The first of them.
        """
        return self.ports[0]

    def listensOn(self, path: str) -> bool:
        """
        Whether there is a UNIX socket at C{path} that listens, as far as this system
        tells.
        """
        try:
            sockets = Path(f"/proc/{self.process.pid}/net/unix").read_text()
        except OSError:
            return True
        # __SO_ACCEPTCON among the flags.
        return re.search(rf" 00010000 .* {re.escape(path)}$", sockets, 8) is not None

    @property
    def descriptors(self) -> int:
        """
        How many descriptors it has open.
        """
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def cpuSeconds(self) -> float:
        """
        How much processor time it has used.
        """
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def client(self, host: str = "127.0.0.1") -> Client:
        """
        A new connection to it.
        """
        return Client(socket.create_connection((host, self.port), PATIENCE))

    def greeted(self, host: str = "127.0.0.1") -> Client:
        """
        A new connection that is ready for its request.
        """
        client = self.client(host)
        answer = client.greet()
        if answer != b"\x05\x00":
            raise AssertionError(f"the answer to a greeting was {answer!r}")
        return client

    def terminate(self) -> int:
        """
        End it as an operator does.

        @return: its exit status.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """
        End it for sure.
        """
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)


class Finished:
    """
    A command that has come to its end.

    @ivar status: its exit status.
    @ivar output: what it wrote to its standard output.
    @ivar errors: and to its standard error.
    """

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.status = done.returncode
        self.data = done.stdout
        self.output = done.stdout.decode(errors="replace")
        self.errors = done.stderr.decode(errors="replace")

    def __repr__(self) -> str:
        return f"status {self.status}\n{self.output[-2000:]}\n{self.errors[-2000:]}"


class ProcessTestCase(SynchronousTestCase):
    """
    Tests with processes.
    """

    def directory(self) -> str:
        """
        A new directory with a short path, as UNIX sockets want it.
        """
        path = tempfile.mkdtemp(prefix="socksproxy-")
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    def until(self, condition: Callable[[], object], what: str) -> None:
        """
        Wait until C{condition} holds.
        """
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                self.fail(f"waited in vain: {what}")
            time.sleep(0.02)

    def run_(
        self,
        *command: str,
        stdin: bytes = b"",
        timeout: float = PATIENCE,
        cwd: str | None = None,
    ) -> Finished:
        """
        Run C{command} to its end.
        """
        return Finished(
            subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                timeout=timeout,
                check=False,
                cwd=cwd or self.directory(),
            )
        )

    def startProcess(self, command: Sequence[str]) -> Proxy:
        """
        Start C{command}, and end it with the test.
        """
        directory = self.directory()
        with (
            open(os.path.join(directory, "out"), "wb") as out,
            open(os.path.join(directory, "err"), "wb") as err,
        ):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=directory,
            )
        proxy = Proxy(process, directory)
        self.addCleanup(self._end, proxy)
        return proxy

    def _end(self, proxy: Proxy) -> None:
        """
        Whatever it was for, it has told nobody a secret.
        """
        proxy.kill()
        for said in (proxy.log, proxy.errors):
            self.assertFalse(SECRET in said, "a secret is in a log")

    def startProxy(
        self,
        *options: str,
        prefix: Sequence[str] = (),
        twistd: Sequence[str] = (),
        listeners: int = 1,
    ) -> Proxy:
        """
        A proxy that listens.

        @param options: those after C{socks5}; C{--port 0} unless given.
        @param prefix: a command that runs another one.
        @param twistd: those before C{socks5}.
        @param listeners: how many listening ports to wait for.
        """
        proxy = self.startProcess(
            [
                *prefix,
                script("twistd"),
                "-n",
                "--pidfile=",
                *twistd,
                "socks5",
                *(options or ("--port", "0")),
            ]
        )

        def listens() -> bool:
            if proxy.process.poll() is not None:
                self.fail(f"the proxy ended: {proxy.log}\n{proxy.errors}")
            log = proxy.log
            # A UNIX socket is in the log before it is there.
            return (
                log.count("SOCKS5Factory starting on ")
                + log.count("SOCKS5Factory (TLS) starting on ")
                >= listeners
            ) and all(
                proxy.listensOn(path)
                for path in re.findall(r"SOCKS5Factory starting on '(.+)'", log)
            )

        self.until(listens, "the proxy does not listen")
        return proxy

    def listenTLS(self) -> tuple[str, ssl.SSLContext]:
        """
        What C{--listen} wants for TLS, and what a client trusts it by.
        """
        directory = self.directory()
        key, certificate = (os.path.join(directory, name) for name in "kc")
        made = self.run_(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-keyout", key, "-out", certificate, "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
        )
        self.assertEqual(made.status, 0, repr(made))
        return (
            f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}",
            ssl.create_default_context(cafile=certificate),
        )

    def tlsClient(self, port: int, context: ssl.SSLContext) -> Client:
        """
        A client of a listener as L{listenTLS} has it.
        """
        plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
        tls = context.wrap_socket(plain, server_hostname="127.0.0.1")
        return self.client(Client(tls))

    def client(self, client: Client) -> Client:
        """
        Close C{client} with the test.
        """
        self.addCleanup(client.socket.close)
        return client

    def listener(self, host: str = "127.0.0.1", backlog: int = 128) -> socket.socket:
        """
        A target.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        self.addCleanup(listening.close)
        listening.settimeout(PATIENCE)
        listening.bind((host, 0))
        listening.listen(backlog)
        return listening

    def accept(self, listening: socket.socket) -> Client:
        """
        The next connection to it.
        """
        accepted, _ = listening.accept()
        return self.client(Client(accepted))

    def reached(self, client: Client) -> Client:
        """
        A new target of a client that may make its request: bytes get there and
        back.
        """
        listening = self.listener()
        code, _ = client.request(*listening.getsockname())
        self.assertEqual(code, 0)
        target = self.accept(listening)
        listening.close()
        client.socket.sendall(b"ping")
        self.assertEqual(target.receive(4), b"ping")
        target.socket.sendall(b"pong")
        self.assertEqual(client.receive(4), b"pong")
        return target

    def assertStops(self, proxy: Proxy) -> None:
        """
        It ends in order when it is told to.  Twisted then has C{twistd} end by
        the signal that it got, which service managers take for success.
        """
        self.assertIn(proxy.terminate(), (0, -signal.SIGTERM))
        self.assertIn("Main loop terminated", proxy.log)

    def assertQuiet(self, proxy: Proxy) -> None:
        """
        Nothing happened that was the proxy's own fault.
        """
        self.assertNotIn("Traceback", proxy.log)
        self.assertNotIn("Unhandled", proxy.log)
        self.assertEqual(proxy.errors, "")


class ProgramTestCase(ProcessTestCase):
    """
    Tests with programs that are told a port to listen on.
    """

    def freePort(self) -> int:
        """
        A port that nobody listens on right now.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            return int(listening.getsockname()[1])

    def connected(self, port: int) -> Client:
        """
        A connection to a program that is about to listen.
        """
        connection = []

        def connects() -> bool:
            try:
                connection.append(socket.create_connection(("127.0.0.1", port)))
            except OSError:
                return False
            return True

        self.until(connects, f"nobody listens on port {port}")
        return self.client(Client(connection[0]))
