"""
UDP ASSOCIATE, with a real C{twistd} and clients of a few lines.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
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
from socksproxy.test.test_bind import openFiles


def header(host: str, port: int, fragment: int = 0) -> bytes:
    """
    What stands before the data; it knows nothing of the package's own parsers.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        encoded = bytes((3, len(name))) + name
    else:
        encoded = bytes((1 if address.version == 4 else 4,)) + address.packed
    return bytes((0, 0, fragment)) + encoded + struct.pack("!H", port)


class Associated:
    """
    A client with an association.

    @ivar tcp: the connection that it lives by.
    @ivar udp: a socket that is connected to the relay.
    """

    def __init__(self, tcp: Client, bound: tuple[str, int]) -> None:
        self.tcp = tcp
        self.bound = bound
        self.reopen(("::1" if ":" in bound[0] else "127.0.0.1", 0))

    def reopen(self, address: tuple[str, int]) -> None:
        """
        Go on with another socket, at an address of the client's own.
        """
        self.udp = socket.socket(self.tcp.socket.family, socket.SOCK_DGRAM)
        self.udp.settimeout(PATIENCE)
        self.udp.bind(address)
        self.udp.connect(self.bound)

    def send(self, data: bytes, host: str, port: int, fragment: int = 0) -> None:
        self.udp.send(header(host, port, fragment) + data)

    def receive(self, host: str, port: int) -> bytes:
        """
        The data of the next datagram, which comes from there.
        """
        packet = self.udp.recv(65_535)
        expected = header(host, port)
        if not packet.startswith(expected):
            raise AssertionError(f"this is not from {host}: {packet[:30]!r}")
        return packet[len(expected) :]

    def close(self) -> None:
        self.tcp.socket.close()
        self.udp.close()


def udpSockets(proxy: Proxy) -> list[int]:
    """
    The ports of all UDP sockets of a process.
    """
    mine = openFiles(proxy, "socket:")
    net = Path(f"/proc/{proxy.process.pid}/net")
    return [
        int(fields[1].rpartition(":")[2], 16)
        for table in ("udp", "udp6")
        for fields in map(str.split, (net / table).read_text().splitlines()[1:])
        if f"socket:[{fields[9]}]" in mine
    ]


WITHOUT_HUB = """
import os
del os.splice

from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from socksproxy import SOCKS5Factory, SOCKS5Service

factory = SOCKS5Factory(reactor)
assert factory.hub is None
application = Application("proxy")
endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
SOCKS5Service(factory, [endpoint]).setServiceParent(application)
"""


class UDPTestCase(ProcessTestCase):
    """
    What the tests share.
    """

    def associated(
        self,
        proxy: Proxy,
        host: str = "127.0.0.1",
        hint: str = "0.0.0.0",
        port: int = 0,
    ) -> Associated:
        """
        A new association.
        """
        client = self.client(proxy.greeted(host))
        code, bound = client.request(hint, port, 3)
        self.assertEqual(code, 0)
        associated = Associated(client, bound)
        self.addCleanup(associated.close)
        return associated

    def target(self, host: str = "127.0.0.1") -> socket.socket:
        """
        A UDP socket.
        """
        target = socket.socket(
            socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM
        )
        self.addCleanup(target.close)
        target.settimeout(PATIENCE)
        target.bind((host, 0))
        return target

    def assertAnswered(self, client: Associated, target: socket.socket) -> None:
        """
        As L{assertExchanges}, but that something else may come before the answer.
        """
        host, port = target.getsockname()
        client.send(b"question", host, port)
        _, source = target.recvfrom(99)
        target.sendto(b"answer", source)
        while client.receive(host, port) != b"answer":
            pass

    def assertExchanges(
        self, client: Associated, target: socket.socket, data: bytes = b"hello"
    ) -> tuple[str, int]:
        """
        A datagram goes to C{target} and comes back.

        @return: where it came from.
        """
        host, port = target.getsockname()[:2]
        client.send(data, host, port)
        received, source = target.recvfrom(65_535)
        self.assertEqual(received, data)
        target.sendto(data, source)
        self.assertEqual(client.receive(host, port), data)
        return source[0], source[1]


class AssociationTests(UDPTestCase):
    """
    A client of a few lines.
    """

    def test_sizes(self) -> None:
        """
        Datagrams of all sizes go both ways, by IPv4 and IPv6, from clients of
        either, and the reply names an address of the client's family.
        """
        for host, interface in (("127.0.0.1", "127.0.0.1"), ("::1", "::1")):
            proxy = self.startProxy("--port", "0", "--interface", interface)
            client = self.associated(proxy, host)
            self.assertEqual(client.bound[0], host)
            for target in (self.target(), self.target("::1")):
                for size in (0, 1, 1_400, 1_500, 9_000, 60_000, 65_000):
                    self.assertExchanges(client, target, os.urandom(size))
            self.assertQuiet(proxy)

    def test_bothFamilies(self) -> None:
        """
        A proxy that listens for both families on one socket tells each client an
        address of its own.
        """
        proxy = self.startProxy("--listen", "tcp6:0:interface=\\:\\:", "--open-proxy")
        target = self.target()
        for host in ("127.0.0.1", "::1"):
            client = self.associated(proxy, host)
            self.assertEqual(client.bound[0], host)
            self.assertExchanges(client, target)
        self.assertQuiet(proxy)

    def test_hints(self) -> None:
        """
        All that clients say of where they are is accepted.
        """
        proxy = self.startProxy()
        target = self.target()
        for hint in ("0.0.0.0", "::", "0", "10.1.2.3", "fd00::1", "me.example"):
            for port in (0, 40_000):
                self.assertExchanges(
                    self.associated(proxy, hint=hint, port=port), target
                )
        self.assertQuiet(proxy)

    def test_fragments(self) -> None:
        """
        Fragments arrive as one datagram.
        """
        proxy = self.startProxy()
        client = self.associated(proxy)
        target = self.target()
        host, port = target.getsockname()
        client.send(b"lost", host, port, 0x82)
        for number in range(1, 127):
            client.send(bytes((number,)) * 400, host, port, number)
        client.send(b"the end", host, port, 0xFF)
        whole = b"".join(bytes((number,)) * 400 for number in range(1, 127))
        self.assertEqual(target.recv(65_535), whole + b"the end")
        client.tcp.socket.close()
        self.until(lambda: "1 datagrams sent, 0 received, 1 dropped" in proxy.log, "")
        self.assertQuiet(proxy)

    def test_malformed(self) -> None:
        """
        Rubbish does not end an association.
        """
        proxy = self.startProxy()
        client = self.associated(proxy)
        target = self.target()
        host, port = target.getsockname()
        for packet in (
            b"",
            b"\0",
            header(host, port)[:-1],
            header(host, 0) + b"x",
            header("no-such-host.invalid", 9) + b"x",
            b"\0\0\0\x03\0\0\x50x",
            b"\0\0\0\x7f" + bytes(30),
            header("255.255.255.255", 9) + b"x",
            bytes(65_507),
        ):
            client.udp.send(packet)
        self.assertExchanges(client, target)
        client.tcp.socket.close()
        self.until(lambda: ": closed, " in proxy.log, "no end")
        self.assertIn("1 datagrams sent, 1 received, 9 dropped", proxy.log)
        self.assertQuiet(proxy)

    def test_strangers(self) -> None:
        """
        Nobody else can use the association, nor be taken for a target.
        """
        proxy = self.startProxy()
        client = self.associated(proxy)
        target = self.target()
        host, port = target.getsockname()
        stranger = self.target("127.0.0.2")
        stranger.sendto(header(host, port) + b"first", client.bound)
        self.assertExchanges(client, target)
        for other in (stranger, self.target()):
            other.sendto(header(host, port) + b"later", client.bound)
        self.assertExchanges(client, target)
        client.tcp.socket.close()
        self.until(lambda: ": closed, " in proxy.log, "no end")
        self.assertIn("2 datagrams sent, 2 received, 1 dropped", proxy.log)
        self.assertQuiet(proxy)

    def test_filter(self) -> None:
        """
        Everybody can answer, or, with C{--udp-filter}, only hosts, or their
        ports, that the client has sent to; others are counted.
        """
        for filter, heard in (("none", 3), ("address", 2), ("port", 1)):
            proxy = self.startProxy("--port", "0", "--udp-filter", filter)
            client = self.associated(proxy)
            target = self.target()
            relay = self.assertExchanges(client, target)
            senders = [self.target("127.0.0.2"), self.target(), target]
            for sender in senders:
                sender.sendto(b"x", relay)
            for sender in senders[-heard:]:
                self.assertEqual(client.receive(*sender.getsockname()), b"x")
            client.close()
            self.until(lambda: ": closed, " in proxy.log, "no end")  # noqa: B023
            self.assertIn(f"{1 + heard} received, {3 - heard} dropped", proxy.log)
            self.assertQuiet(proxy)

    def test_ports(self) -> None:
        """
        C{--udp-ports} are the ports, and when there is none left the reply is 01.
        """
        with self.target() as free:
            port = free.getsockname()[1]
        proxy = self.startProxy("--port", "0", "--udp-ports", f"{port}-{port}")
        client = self.associated(proxy)
        self.assertEqual(client.bound[1], port)
        self.assertEqual(self.client(proxy.greeted()).request("0.0.0.0", 0, 3)[0], 1)
        client.close()
        self.until(lambda: ": closed, " in proxy.log, "no end")
        self.assertEqual(self.associated(proxy).bound[1], port)
        self.assertQuiet(proxy)

    def test_perClient(self) -> None:
        """
        C{--udp-per-client}: more get reply 02, until one has ended.
        """
        proxy = self.startProxy("--port", "0", "--udp-per-client", "2")
        first, _ = self.associated(proxy), self.associated(proxy)
        self.assertEqual(self.client(proxy.greeted()).request("0.0.0.0", 0, 3)[0], 2)
        first.close()
        self.until(lambda: ": closed, " in proxy.log, "no end")
        self.associated(proxy)
        self.assertQuiet(proxy)

    def test_timeout(self) -> None:
        """
        C{--udp-timeout}: an association without a datagram ends, and its TCP
        connection too.
        """
        proxy = self.startProxy("--port", "0", "--udp-timeout", "0.2")
        client = self.associated(proxy)
        self.assertTrue(client.tcp.isReset())
        self.until(lambda: "idle for too long" in proxy.log, proxy.log)
        self.assertQuiet(proxy)

    def test_switchedOff(self) -> None:
        """
        C{--no-udp}: the reply is 07.
        """
        proxy = self.startProxy("--port", "0", "--no-udp")
        self.assertEqual(self.client(proxy.greeted()).request("0.0.0.0", 0, 3)[0], 7)
        self.assertQuiet(proxy)

    def test_advertised(self) -> None:
        """
        C{--advertise}: each client is told the address of its own family, and a
        port that is the true one.
        """
        proxy = self.startProxy(
            *("--listen", "tcp6:0:interface=\\:\\:", "--open-proxy"),
            *("--advertise", "203.0.113.7", "--advertise", "2001:db8::7"),
        )
        target = self.target()
        for host, told in (("127.0.0.1", "203.0.113.7"), ("::1", "2001:db8::7")):
            client = self.client(proxy.greeted(host))
            code, (bound, port) = client.request("0.0.0.0", 0, 3)
            self.assertEqual((code, bound), (0, told))
            reached = Associated(client, (host, port))
            self.addCleanup(reached.close)
            self.assertExchanges(reached, target)
        self.assertQuiet(proxy)

    def test_ownPorts(self) -> None:
        """
        Datagrams for the proxy's own ports and for the client's own go round in no
        circle.
        """
        proxy = self.startProxy()
        client = self.associated(proxy)
        target = self.target()
        outside = self.assertExchanges(client, target)
        client.send(b"to the relay", *client.bound)
        client.send(b"to myself", *client.udp.getsockname())
        client.send(b"to the other side", *outside)
        self.assertEqual(client.receive(*outside), b"to the other side")
        self.assertExchanges(client, target)
        client.close()
        self.until(lambda: ": closed, " in proxy.log, "no end")
        self.assertIn("5 datagrams sent, 3 received, 0 dropped", proxy.log)
        self.assertQuiet(proxy)

    def test_gone(self) -> None:
        """
        That the client's port is closed, which the system tells the proxy when it
        sends there, ends nothing: the client may open it again.
        """
        proxy = self.startProxy()
        client = self.associated(proxy)
        target = self.target()
        relay = self.assertExchanges(client, target)
        mine = client.udp.getsockname()
        client.udp.close()
        for _ in range(5):
            target.sendto(b"to nobody", relay)
        # By now those were taken, as a rule.
        self.assertExchanges(self.associated(proxy), self.target())
        client.reopen(mine)
        self.assertAnswered(client, target)
        self.assertQuiet(proxy)

    def test_workers(self) -> None:
        """
        Workers serve it as well.
        """
        proxy = self.startProxy("--port", "0", "--workers", "2")
        target = self.target()
        for _ in range(4):
            self.assertExchanges(self.associated(proxy), target)
        self.assertQuiet(proxy)

    @needs("openssl")
    @skipIf(find_spec("OpenSSL") is None, "pyOpenSSL is not installed")
    def test_TLS(self) -> None:
        """
        A client that came by TLS has an association as others have, which ends
        with its connection.
        """
        description, context = self.listenTLS()
        proxy = self.startProxy("--listen", description)
        target = self.target()
        for leaves in (Client.reset, lambda client: client.socket.close()):
            client = self.tlsClient(proxy.port, context)
            client.greet()
            code, bound = client.request("0.0.0.0", 0, 3)
            self.assertEqual(code, 0)
            associated = Associated(client, bound)
            self.addCleanup(associated.close)
            for size in (0, 5, 60_000):
                self.assertExchanges(associated, target, os.urandom(size))
            client.socket.sendall(b"this has no meaning")
            self.assertExchanges(associated, target)
            self.assertEqual(len(udpSockets(proxy)), 2)
            leaves(client)
            self.until(lambda: not udpSockets(proxy), "the association lives on")
        self.assertEqual(proxy.log.count("4 datagrams sent, 4 received, 0 dropped"), 2)
        self.assertQuiet(proxy)

    def test_withoutHub(self) -> None:
        """
        Where the system has no epoll or no splice it is the same, but that the
        kernel keeps nobody away: all strangers are seen, and counted.
        """
        path = Path(self.directory(), "proxy.tac")
        path.write_text(WITHOUT_HUB)
        proxy = self.startProcess(
            [script("twistd"), "-n", "--pidfile=", "--no_save", "-y", str(path)]
        )
        self.until(lambda: proxy.ports, "the proxy does not listen")
        client = self.associated(proxy)
        target = self.target()
        for size in (0, 5, 60_000):
            relay = self.assertExchanges(client, target, os.urandom(size))
        host, port = target.getsockname()
        for other in (self.target("127.0.0.2"), self.target()):
            other.sendto(header(host, port) + b"later", client.bound)
        with self.target() as refusing:
            refused = refusing.getsockname()[1]
        mine = client.udp.getsockname()
        for _ in range(3):
            client.send(b"x", "127.0.0.1", refused)
        self.assertExchanges(client, target)
        client.udp.close()
        target.sendto(b"to nobody", relay)
        client.reopen(mine)
        self.assertAnswered(client, target)
        client.close()
        self.until(lambda: ": closed, " in proxy.log, "no end")
        self.assertIn(" 8 datagrams sent, 6 received, 2 dropped", proxy.log)
        self.assertEqual(udpSockets(proxy), [])
        self.assertQuiet(proxy)

    def test_UNIX(self) -> None:
        """
        A client on a UNIX socket has no address to send datagrams from: 07.
        """
        path = os.path.join(self.directory(), "socks")
        proxy = self.startProxy("--listen", f"unix:{path}")
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        client = self.client(Client(connection))
        client.greet()
        self.assertEqual(client.request("0.0.0.0", 0, 3)[0], 7)
        self.assertQuiet(proxy)

    def test_restart(self) -> None:
        """
        Associations end with the proxy, which logs them.
        """
        proxy = self.startProxy("--port", "0", "--grace", "0")
        self.assertExchanges(self.associated(proxy), self.target())
        self.assertStops(proxy)
        self.assertIn("the proxy stopped, 5 bytes sent, 5 received", proxy.log)
        self.assertQuiet(proxy)

    def test_nothingLeft(self) -> None:
        """
        No descriptor and no port is left over from 1,000 associations that end in
        every way: the client leaves, resets, ends its side, falls silent, or does
        not even wait for the answer; with targets that answer, that refuse, that
        have a name, and that have a name which nobody has looked up yet.
        """
        proxy = self.startProxy("--port", "0", "--udp-timeout", "3")
        target = self.target()
        with self.target() as refusing:
            refused = refusing.getsockname()[1]
        client = self.associated(proxy)
        client.send(b"x", "localhost", refused)
        self.assertExchanges(client, target)
        client.close()
        self.until(lambda: not udpSockets(proxy), "the first one lives on")
        before = proxy.descriptors
        silent: list[Associated] = []
        for number in range(1_000):
            if number % 5 == 4:
                hasty = proxy.greeted()
                hasty.socket.sendall(b"\x05\x03\x00\x01" + bytes(6))
                (hasty.reset if number % 2 else hasty.socket.close)()
                continue
            client = self.associated(proxy)
            if number % 3 == 0:
                self.assertExchanges(client, target)
            elif number % 3 == 1:
                client.send(b"x", "127.0.0.1", refused)
                client.send(b"x", "::1", refused)
            else:
                client.send(b"x", "localhost", refused)
                client.send(b"x", f"host-{number}.invalid", refused)
            if number % 5 == 0:
                client.close()
            elif number % 5 == 1:
                client.tcp.reset()
                client.udp.close()
            elif number % 5 == 2:
                client.tcp.socket.shutdown(socket.SHUT_WR)
                client.udp.close()
            else:
                silent.append(client)
            if len(silent) == 50:
                for one in silent:
                    self.assertTrue(one.tcp.isReset())
                    one.close()
                silent.clear()
        self.assertEqual(silent, [])
        self.until(lambda: not udpSockets(proxy), "there are UDP sockets")
        self.until(lambda: proxy.descriptors == before, "descriptors are left")
        for reason in ("closed", "reset by the client", "idle for too long"):
            self.assertIn(f": {reason}, ", proxy.log)
        self.assertQuiet(proxy)
