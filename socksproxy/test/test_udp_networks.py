"""
UDP ASSOCIATE in networks of its own: beyond a NAT, and on links without addresses
that anybody gave.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

from socksproxy.test.processes import Finished, Proxy
from socksproxy.test.test_replies import NamespaceTestCase

PROXY = """
    import sys
    from twisted.internet import reactor
    from twisted.internet.endpoints import serverFromString
    from twisted.python.log import startLogging
    from socksproxy import SOCKS5Factory, SOCKS5Service
    from socksproxy.outbound.reachable import Advertised, PortRange

    startLogging(sys.stdout)
    factory = SOCKS5Factory(
        reactor, advertised=Advertised("10.0.2.1"), udpPorts=PortRange(41000, 41003)
    )
    endpoint = serverFromString(reactor, "tcp:1080:interface=10.0.1.1")
    SOCKS5Service(factory, [endpoint]).startService()
    reactor.run()
"""

CLIENT = """
    import socket, subprocess, sys

    tcp = socket.create_connection(("10.0.2.1", 1080))
    tcp.sendall(b"\\5\\1\\0")
    assert tcp.recv(2) == b"\\5\\0"
    tcp.sendall(b"\\5\\3\\0\\1" + bytes(6))
    reply = tcp.recv(10)
    assert reply[:4] == b"\\5\\0\\0\\1", reply
    relay = socket.inet_ntoa(reply[4:8]), int.from_bytes(reply[8:], "big")
    print(*relay)
    target = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    target.bind(("10.0.2.2", 9))
    target.settimeout(60)
    head = b"\\0\\0\\0\\1\\x0a\\0\\2\\2\\0\\x09"
    sends = (
        "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "s.sendto(bytes.fromhex(sys.argv[1]), (sys.argv[2], int(sys.argv[3])))"
    )

    def stranger():
        subprocess.run(
            ["ip", "netns", "exec", sys.argv[1], sys.executable, "-c", sends]
            + [(head + b"stranger").hex(), relay[0], str(relay[1])], check=True
        )

    stranger()
    mine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mine.settimeout(60)
    mine.sendto(head + b"one", relay)
    data, source = target.recvfrom(99)
    print(data.decode(), source[0])
    target.sendto(b"two", source)
    data, source = mine.recvfrom(99)
    assert source == relay, source
    print(data.removeprefix(head).decode())
    stranger()
    mine.sendto(head + b"three", relay)
    print(target.recv(99).decode())
"""


class InsideTestCase(NamespaceTestCase):
    """
    Python programs in namespaces.
    """

    def startInside(self, namespace: str, program: str) -> Proxy:
        """
        Start a Python program in a namespace.
        """
        path = Path(self.directory()) / "program.py"
        path.write_text(textwrap.dedent(program))
        return self.startProcess(
            ["ip", "netns", "exec", namespace, sys.executable, str(path)]
        )

    def runInside(self, namespace: str, program: str, *arguments: str) -> Finished:
        """
        Run one to its end.
        """
        path = Path(self.directory()) / "program.py"
        path.write_text(textwrap.dedent(program))
        return self.run_(
            *("ip", "netns", "exec", namespace, sys.executable, str(path), *arguments)
        )


class NATTests(InsideTestCase):
    """
    A proxy in a private network.
    """

    def test_advertised(self) -> None:
        """
        Beyond a NAT a client is told the address that it can reach, and its
        datagrams go through; those of a third host are dropped, before and after
        the client's own.
        """
        if shutil.which("nft") is None:
            self.skipTest("nft is not installed: apt-get install nftables")
        router, client, third = (self.namespace() for _ in range(3))
        self.join(self.a, router, "e1")
        self.join(router, client, "e2")
        self.join(router, third, "e3")
        self.set(router, "ipv4/ip_forward=1")
        self.ip(self.a, "route add default via 10.0.1.2")
        self.ip(client, "route add default via 10.0.2.1")
        self.ip(third, "route add default via 10.0.3.1")
        for rule in (
            "add table ip t",
            "add chain ip t in { type nat hook prerouting priority -100 ; }",
            "add chain ip t out { type nat hook postrouting priority 100 ; }",
            "add rule ip t in ip daddr 10.0.2.1 tcp dport 1080 dnat to 10.0.1.1",
            "add rule ip t in ip daddr 10.0.2.1 udp dport 41000-41003 dnat to 10.0.1.1",
            "add rule ip t out ip saddr 10.0.1.0/24 masquerade",
        ):
            self.check("ip", "netns", "exec", router, "nft", rule)
        proxy = self.startInside(self.a, PROXY)
        self.until(lambda: "SOCKS5Factory starting" in proxy.log, proxy.log)
        done = self.runInside(client, CLIENT, third)
        self.assertEqual(done.status, 0, repr(done))
        where, one, two, three = done.output.splitlines()
        self.assertRegex(where, r"^10\.0\.2\.1 4100[0-3]$")
        self.assertEqual((one, two, three), ("one 10.0.2.1", "two", "three"))
        self.until(lambda: "1 dropped" in proxy.log, proxy.log)
        self.assertIn("2 datagrams sent, 1 received, 1 dropped", proxy.log)
        self.assertQuiet(proxy)


LINK_LOCAL = """
    import socket, subprocess, sys

    scope = socket.if_nametoindex("e1")
    tcp = socket.socket(socket.AF_INET6)
    tcp.bind(("fe80::2", 0, 0, scope))
    tcp.connect(("fe80::1", 1080, 0, scope))
    tcp.sendall(b"\\5\\1\\0")
    assert tcp.recv(2) == b"\\5\\0"
    tcp.sendall(b"\\5\\3\\0\\1" + bytes(6))
    reply = tcp.recv(22)
    assert reply[:4] == b"\\5\\0\\0\\4", reply
    port = int.from_bytes(reply[20:], "big")
    print(socket.inet_ntop(socket.AF_INET6, reply[4:20]))
    target = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    target.bind(("fd00:1::2", 9))
    target.settimeout(60)
    there = socket.inet_pton(socket.AF_INET6, "fd00:1::2")
    head = b"\\0\\0\\0\\4" + there + b"\\0\\x09"
    sends = (
        "import socket, sys; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM);"
        "s.bind(('fe80::2', 0, 0, socket.if_nametoindex('e2')));"
        "s.sendto(bytes.fromhex(sys.argv[1]),"
        "('fe80::1', int(sys.argv[2]), 0, socket.if_nametoindex('e2')))"
    )
    subprocess.run(
        ["ip", "netns", "exec", sys.argv[1], sys.executable, "-c", sends]
        + [(head + b"stranger").hex(), str(port)], check=True
    )
    mine = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    mine.bind(("fe80::2", 0, 0, scope))
    mine.settimeout(60)
    for data in (b"one", b"two"):
        mine.sendto(head + data, ("fe80::1", port, 0, scope))
        data, source = target.recvfrom(99)
        print(data.decode(), source[0])
        target.sendto(data, source)
        data, source = mine.recvfrom(99)
        print(data.removeprefix(head).decode(), source[1] == port)
"""


class LinkLocalTests(InsideTestCase):
    """
    Two links, on each of which somebody has the same address.
    """

    def test_scope(self) -> None:
        """
        A client with a link-local address has an association at the proxy's
        address on that link, and the same address on another link is somebody
        else's.
        """
        client, third = self.namespace(), self.namespace()
        for device, other in (("e1", client), ("e2", third)):
            self.join(self.a, other, device)
            self.ip(self.a, f"addr add fe80::1/64 dev {device} nodad")
            self.ip(other, f"addr add fe80::2/64 dev {device} nodad")
        proxy = self.startProxy(
            *("--listen", "tcp6:1080:interface=\\:\\:", "--open-proxy"),
            prefix=("ip", "netns", "exec", self.a),
        )
        done = self.runInside(client, LINK_LOCAL, third)
        self.assertEqual(done.status, 0, repr(done))
        self.assertEqual(
            done.output.splitlines(),
            [
                *("fe80::1", "one fd00:1::1", "one True"),
                *("two fd00:1::1", "two True"),
            ],
        )
        self.until(lambda: ": closed, " in proxy.log, proxy.log)
        self.assertIn("2 datagrams sent, 2 received, 0 dropped", proxy.log)
        self.assertQuiet(proxy)
