"""
BIND of a real C{twistd} process: small clients, FTP in active mode, and what is
left of a thousand.
"""

from __future__ import annotations

import ftplib
import hashlib
import io
import os
import re
import socket
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from unittest import skipIf

from socksproxy.test.processes import (
    PATIENCE,
    Client,
    ProcessTestCase,
    Proxy,
    needs,
    script,
)

BIND = 2

ANYBODY = ("0.0.0.0", 0)

MODULES = "/usr/share/nodejs"
"""
Where Debian has the modules of Node.
"""


def connected(
    bound: tuple[str, int], source: str = "", timeout: float = PATIENCE
) -> Client:
    """
    The target's connection to where a BIND listens.
    """
    return Client(socket.create_connection(bound, timeout, (source, 0)))


def answer(client: Client) -> tuple[int, tuple[str, int]]:
    """
    The second answer to a BIND.
    """
    return client.send(b"")


def openFiles(proxy: Proxy, kind: str) -> list[str]:
    """
    What a process has open of one kind.
    """
    found = []
    for path in Path(f"/proc/{proxy.process.pid}/fd").iterdir():
        try:
            found.append(os.readlink(path))
        except FileNotFoundError:
            pass  # It is closed by now.
    return [name for name in found if name.startswith(kind)]


def listeners(proxy: Proxy) -> int:
    """
    How many TCP sockets of a process listen.
    """
    mine = openFiles(proxy, "socket:")
    net = Path(f"/proc/{proxy.process.pid}/net")
    count = 0
    for table in ("tcp", "tcp6"):
        for line in (net / table).read_text().splitlines()[1:]:
            fields = line.split()
            count += fields[3] == "0A" and f"socket:[{fields[9]}]" in mine
    return count


class BindTestCase(ProcessTestCase):
    """
    What the tests have in common.
    """

    def bound(
        self, proxy: Proxy, host: str = "127.0.0.1", port: int = 0
    ) -> tuple[Client, tuple[str, int]]:
        """
        A client that waits, and where its target has to connect to.
        """
        client = self.client(proxy.greeted())
        code, address = client.request(host, port, BIND)
        self.assertEqual(code, 0)
        return client, address

    def assertTurnedAway(self, bound: tuple[str, int], source: str) -> None:
        """
        Whoever connects from C{source} is reset.
        """
        try:
            stranger = connected(bound, source)
        except ConnectionResetError:
            return
        self.assertTrue(stranger.isReset())
        stranger.socket.close()


class SmallClientTests(BindTestCase):
    """
    The options, and what a client sees.
    """

    def test_relay(self) -> None:
        """
        Two answers, then megabytes both ways, those first that came early;
        then the ends of either.
        """
        proxy = self.startProxy()
        payload = os.urandom(1 << 20)
        for host in ("127.0.0.1", "::1", "localhost"):
            client, address = self.bound(proxy, host)
            client.socket.sendall(payload[:1000])
            target = self.client(connected(address))
            self.assertEqual(answer(client), (0, target.socket.getsockname()[:2]))
            target.socket.sendall(payload)
            target.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(client.receive(len(payload) + 1), payload)
            client.socket.sendall(payload[1000:])
            client.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(target.receive(len(payload) + 1), payload)
        line = re.compile(
            r"- BIND localhost:0 via \S+: closed, 1048576 bytes sent, 1048576 received"
        )
        self.until(lambda: line.search(proxy.log), "there is no such line")
        self.assertQuiet(proxy)

    @skipIf(not hasattr(os, "splice"), "this system has no splice")
    def test_relayIsFast(self) -> None:
        """
        The relay is that of CONNECT, which moves bytes through pipes.
        """
        proxy = self.startProxy()
        client, address = self.bound(proxy)
        target = self.client(connected(address))
        answer(client)
        before = len(openFiles(proxy, "pipe:"))
        target.socket.setblocking(False)

        def fills() -> bool:
            try:
                target.socket.send(bytes(1 << 20))
            except BlockingIOError:
                pass
            return len(openFiles(proxy, "pipe:")) > before

        self.until(fills, "there is no pipe")

    def test_resets(self) -> None:
        """
        A reset of either side is one for the other.
        """
        proxy = self.startProxy()
        for isClient in (True, False):
            client, address = self.bound(proxy)
            target = self.client(connected(address))
            answer(client)
            ends = (client, target) if isClient else (target, client)
            ends[0].reset()
            self.assertTrue(ends[1].isReset())

    def test_turnedAway(self) -> None:
        """
        Others than the target are turned away; then it connects, and nobody
        else can.
        """
        proxy = self.startProxy()
        client, address = self.bound(proxy, "127.0.0.2")
        bound = ("127.0.0.1", address[1])
        for _ in range(3):
            self.assertTurnedAway(bound, "127.0.0.3")
        target = self.client(connected(bound, "127.0.0.2"))
        self.assertEqual(answer(client), (0, target.socket.getsockname()))
        self.assertRaises(ConnectionRefusedError, connected, bound, "127.0.0.2")

    def test_clientLeaves(self) -> None:
        """
        Where a client has left nobody can connect any more.
        """
        proxy = self.startProxy()
        for leave in (Client.reset, lambda client: client.socket.close()):
            client, _ = self.bound(proxy)
            before = listeners(proxy)
            self.assertEqual(before, 2)
            leave(client)
            self.until(lambda: listeners(proxy) == 1, "it listens")

    def test_timeout(self) -> None:
        """
        When nobody comes the second answer is 04, and nobody can come any
        more.
        """
        proxy = self.startProxy("--port", "0", "--bind-timeout", "0.1")
        client, address = self.bound(proxy)
        self.assertEqual(answer(client)[0], 4)
        self.assertRaises(ConnectionRefusedError, connected, address)
        self.assertIn("refused: nobody connected in time (reply 04)", proxy.log)

    def test_noBind(self) -> None:
        """
        C{--no-bind} answers 07.
        """
        proxy = self.startProxy("--port", "0", "--no-bind")
        self.assertEqual(proxy.greeted().request(*ANYBODY, BIND)[0], 7)

    def test_addresses(self) -> None:
        """
        From behind a NAT targets are told the public address of their family,
        and ports that it passes on; when those are in use the answer is 01.
        """
        with socket.create_server(("127.0.0.9", 0)) as free:
            port = free.getsockname()[1]
        proxy = self.startProxy(
            *("--port", "0", "--bind-ports", f"{port}-{port}"),
            *("--bind-address", "127.0.0.9", "--bind-address", "::1"),
            *("--advertise", "203.0.113.7", "--advertise", "2001:db8::7"),
        )
        client, address = self.bound(proxy)
        self.assertEqual(address, ("203.0.113.7", port))
        second = self.client(proxy.greeted())
        self.assertEqual(second.request("127.0.0.1", 0, BIND)[0], 1)
        _, address6 = self.bound(proxy, "::1")
        self.assertEqual(address6, ("2001:db8::7", port))
        target = self.client(connected(("127.0.0.9", port), "127.0.0.1"))
        self.assertEqual(answer(client), (0, target.socket.getsockname()))
        self.assertQuiet(proxy)

    def test_workers(self) -> None:
        """
        Workers serve it as well.
        """
        proxy = self.startProxy("--port", "0", "--workers", "2")
        client, address = self.bound(proxy)
        target = self.client(connected(address))
        self.assertEqual(answer(client), (0, target.socket.getsockname()))


class _Bound:
    """
    What stands where L{ftplib} wants a listening socket.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def __enter__(self) -> _Bound:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        code, peer = answer(self._client)
        if code:
            raise OSError(f"reply {code:02x}")
        return self._client.socket, peer


class ActiveFTP(ftplib.FTP):
    """
    An FTP client in active mode behind a proxy: it connects by CONNECT, and the
    server connects to it by BIND.
    """

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        super().__init__(timeout=PATIENCE)
        self._proxy = proxy
        self.set_pasv(False)
        control = proxy.greeted()
        code, _ = control.request(host, port)
        if code:
            raise OSError(f"reply {code:02x}")
        self.host = host
        self.sock = control.socket
        self.af = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()

    def makeport(self) -> _Bound:  # type: ignore[override]
        client = self._proxy.greeted()
        code, (host, port) = client.request(self.host, 0, BIND)
        if code:
            raise OSError(f"reply {code:02x}")
        if ":" in host:
            self.sendeprt(host, port)
        else:
            self.sendport(host, port)
        return _Bound(client)


@skipIf(
    find_spec("pyftpdlib") is None, "pyftpdlib is not installed: pip install pyftpdlib"
)
class FTPTests(BindTestCase):
    """
    A real FTP server, which connects to its clients.
    """

    def setUp(self) -> None:
        self.content = os.urandom(3_000_000)
        self.root = self.directory()
        Path(self.root, "file.bin").write_bytes(self.content)

    def startServer(self, host: str) -> int:
        """
        Start it.

        @return: its port.
        """
        server = self.startProcess(
            [
                *(sys.executable, "-m", "pyftpdlib"),
                *("-i", host, "-p", "0", "-d", self.root),
            ]
        )
        found = re.compile(r"starting FTP server on .*:(\d+), pid")
        self.until(lambda: found.search(server.errors + server.log), "no FTP server")
        port = found.search(server.errors + server.log)
        assert port is not None
        return int(port[1])

    def test_ftplib(self) -> None:
        """
        A listing and a file in active mode, over IPv4 and IPv6, with the
        server's address as C{DST.ADDR}.
        """
        proxy = self.startProxy()
        for host in ("127.0.0.2", "::1"):
            ftp = ActiveFTP(proxy, host, self.startServer(host))
            self.addCleanup(ftp.close)
            ftp.login()
            self.assertEqual(ftp.nlst(), ["file.bin"])
            fetched = io.BytesIO()
            ftp.retrbinary("RETR file.bin", fetched.write)
            self.assertEqual(
                hashlib.sha256(fetched.getvalue()).hexdigest(),
                hashlib.sha256(self.content).hexdigest(),
            )
            ftp.quit()
        for host in (r"127\.0\.0\.2", r"\[::1\]"):
            self.assertRegex(proxy.log, rf" BIND {host}:0 via {host}:\d+\n")
        self.assertQuiet(proxy)

    @needs("socksify", "tnftp")
    def test_socksify(self) -> None:
        """
        The same with Dante's client library and a program that knows nothing
        of proxies.
        """
        proxy = self.startProxy()
        port = self.startServer("127.0.0.2")
        directory = self.directory()
        configuration = Path(directory, "socks.conf")
        configuration.write_text(
            textwrap.dedent(
                f"""\
                logoutput: {directory}/log
                route {{
                  from: 0.0.0.0/0 to: 0.0.0.0/0 via: 127.0.0.1 port = {proxy.port}
                  proxyprotocol: socks_v5
                  command: connect bind
                  protocol: tcp
                  method: none
                }}
                """
            )
        )
        done = subprocess.run(
            ["socksify", "tnftp", "-A", "-n", "-v", "127.0.0.2", str(port)],
            input=b"user anonymous a@b\nbinary\nls\nget file.bin\nquit\n",
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            cwd=directory,
            env={
                **os.environ,
                "SOCKS_CONF": str(configuration),
                "SOCKS_AUTOADD_LANROUTES": "no",
            },
        )
        self.assertEqual(done.stdout.count(b"226 Transfer complete."), 2, done)
        fetched = Path(directory, "file.bin").read_bytes()
        self.assertEqual(
            hashlib.sha256(fetched).hexdigest(),
            hashlib.sha256(self.content).hexdigest(),
        )
        self.assertIn(" BIND 127.0.0.2:0 via 127.0.0.2:", proxy.log)


class NodeTests(BindTestCase):
    """
    The C{socks} package of Node.
    """

    @needs("node")
    def test_bind(self) -> None:
        """
        It waits for a connection and takes all that comes over it.
        """
        if not os.path.isdir(f"{MODULES}/socks"):
            self.skipTest("node-socks is not installed: apt-get install node-socks")
        proxy = self.startProxy()
        program = """
            const {SocksClient} = require("socks");
            const client = new SocksClient({
              proxy: {host: "127.0.0.1", port: PORT, type: 5},
              command: "bind",
              destination: {host: "127.0.0.1", port: 0},
            });
            client.on("error", (error) => { throw error; });
            client.on("bound", (info) => {
              const {host, port} = info.remoteHost;
              const target = require("net").connect(port, host, () => {
                console.log(target.localPort);
                target.end(Buffer.alloc(1000000, "x"));
              });
            });
            client.on("established", (info) => {
              let count = 0;
              info.socket.on("data", (data) => { count += data.length; });
              info.socket.on("end", () => {
                console.log(info.remoteHost.port, count);
                info.socket.end();
              });
              info.socket.resume();
            });
            client.connect();
        """
        done = subprocess.run(
            ["node", "-e", program.replace("PORT", str(proxy.port))],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, "NODE_PATH": MODULES},
        )
        found = re.findall(r"\d+", done.stdout.decode())
        self.assertEqual(len(found), 3, done)
        # Which of the two is told first is up to the system.
        found.remove("1000000")
        self.assertEqual(found[0], found[1])
        self.assertQuiet(proxy)


TOGETHER = 50
"""
Clients at a time; there are twenty times as many.
"""

SERVER = """
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from socksproxy import Limits, PermitAll, SOCKS5Factory, SOCKS5Service

class Policy(PermitAll):
    def permitsAddress(self, address, request, session):
        return address.host != "127.0.0.66"

application = Application("proxy")
for seconds in (0, 0.2):
    limits = Limits(bindTimeout=seconds)
    factory = SOCKS5Factory(reactor, policy=Policy(), limits=limits)
    endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1:backlog=1024")
    SOCKS5Service(factory, [endpoint]).setServiceParent(application)
"""


@skipIf(not os.path.isdir("/proc/self/fd"), "there is no /proc")
class LeftoverTests(BindTestCase):
    """
    What is left of a thousand.
    """

    def startServer(self) -> Proxy:
        """
        A process with a proxy on whose first port a BIND waits for ever, and on
        the second not for long; its policy refuses one peer.
        """
        path = Path(self.directory(), "proxy.tac")
        path.write_text(SERVER)
        proxy = self.startProcess(
            [script("twistd"), "-n", "--pidfile=", "--no_save", "-y", str(path)]
        )
        self.until(lambda: len(proxy.ports) == 2, "the proxy does not listen")
        return proxy

    # The ways to end, each given a client that waits for 127.0.0.1 and where.

    def leaves(self, client: Client, bound: tuple[str, int]) -> None:
        client.socket.close()

    def resets(self, client: Client, bound: tuple[str, int]) -> None:
        client.reset()

    def turnsAwayAndLeaves(self, client: Client, bound: tuple[str, int]) -> None:
        self.assertTurnedAway(bound, "127.0.0.3")
        client.socket.close()

    def relays(self, client: Client, bound: tuple[str, int]) -> None:
        target = connected(bound, "127.0.0.1")
        self.assertEqual(answer(client)[0], 0)
        target.socket.sendall(b"hello")
        self.assertEqual(client.receive(5), b"hello")
        client.socket.close()
        self.assertEqual(target.receive(1), b"")
        target.socket.close()

    def targetResets(self, client: Client, bound: tuple[str, int]) -> None:
        target = connected(bound, "127.0.0.1")
        self.assertEqual(answer(client)[0], 0)
        target.reset()
        self.assertTrue(client.isReset())
        client.socket.close()

    def clientResets(self, client: Client, bound: tuple[str, int]) -> None:
        target = connected(bound, "127.0.0.1")
        self.assertEqual(answer(client)[0], 0)
        client.reset()
        self.assertTrue(target.isReset())
        target.socket.close()

    # And those that want more than that.

    def refuses(self, proxy: Proxy) -> None:
        """
        The policy refuses who connects.
        """
        client, bound = self.bound(proxy, *ANYBODY)
        self.assertTurnedAway(bound, "127.0.0.66")
        client.socket.close()

    def cannotListen(self, proxy: Proxy) -> None:
        """
        There is no way to the target.
        """
        client = proxy.greeted()
        self.assertNotEqual(client.request("255.255.255.255", 0, BIND)[0], 0)
        client.socket.close()

    def timesOut(self, proxy: Proxy) -> None:
        """
        Nobody comes in time.
        """
        waiting = []
        for _ in range(TOGETHER):
            client = Client(socket.create_connection(("127.0.0.1", proxy.ports[1])))
            client.greet()
            _, (host, port) = client.request("127.0.0.1", 0, BIND)
            with socket.socket() as stranger:
                stranger.bind(("127.0.0.3", 0))
                stranger.connect_ex((host, port))  # It may come too late as well.
            waiting.append(client)
        for client in waiting:
            self.assertEqual(answer(client)[0], 4)
            client.socket.close()

    def test_nothingIsLeft(self) -> None:
        """
        No descriptor and no port is left of a thousand BINDs that end in every
        way.
        """
        proxy = self.startServer()
        self.relays(*self.bound(proxy))  # So that all is there that stays.
        self.until(lambda: "closed, 0 bytes sent, 5 received" in proxy.log, "no line")
        before = proxy.descriptors
        self.assertEqual(listeners(proxy), 2)
        for way in (
            self.leaves,
            self.resets,
            self.turnsAwayAndLeaves,
            self.relays,
            self.targetResets,
            self.clientResets,
        ):
            for _ in range(2):
                waiting = [self.bound(proxy) for _ in range(TOGETHER)]
                for client, bound in waiting:
                    way(client, bound)
        for other in (self.refuses, self.cannotListen):
            for _ in range(2 * TOGETHER):
                other(proxy)
        for _ in range(4):
            self.timesOut(proxy)
        self.until(lambda: listeners(proxy) == 2, "it listens for somebody")
        self.until(lambda: proxy.descriptors == before, "descriptors are left")
        self.assertQuiet(proxy)
