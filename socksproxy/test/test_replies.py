"""
Every reply code, brought about by its real cause.

Where the cause is something about a network, the proxy lives in a network
namespace of its own.  It listens on a UNIX socket then, which namespaces do not
keep apart.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import time
from itertools import count

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from socksproxy.access import PermitAll
from socksproxy.interfaces import IAccessPolicy, ISession, Request
from socksproxy.server.factory import SOCKS5Factory
from socksproxy.test.processes import PATIENCE, Client, ProcessTestCase, Proxy
from socksproxy.wire.address import Address

UNSPECIFIED = ("0.0.0.0", 0)

_numbers = count()


class ReplyTestCase(ProcessTestCase):
    """
    What the tests share.
    """

    def assertReply(
        self, proxy: Proxy, code: int, host: str, port: int = 9, command: int = 1
    ) -> None:
        """
        A request is answered with C{code}, nothing follows, and the connection
        is closed.
        """
        self.assertAnswer(self.client(proxy.greeted()), code, host, port, command)

    def assertAnswer(
        self, client: Client, code: int, host: str, port: int = 9, command: int = 1
    ) -> None:
        """
        The same for a connection that has been greeted.
        """
        self.assertEqual(client.request(host, port, command), (code, UNSPECIFIED))
        self.assertEqual(client.receive(1), b"")


class LoopbackTests(ReplyTestCase):
    """
    Causes that need nothing but loopback.
    """

    def test_succeeded(self) -> None:
        """
        00, with the address of the proxy's own end of its connection.
        """
        proxy = self.startProxy()
        for host in ("127.0.0.1", "::1"):
            listening = self.listener(host)
            client = self.client(proxy.greeted())
            code, bound = client.request(host, listening.getsockname()[1])
            self.assertEqual(code, 0, proxy.log)
            target = self.accept(listening)
            self.assertEqual(bound, target.socket.getpeername()[:2])
        self.assertQuiet(proxy)

    def test_outOfDescriptors(self) -> None:
        """
        01 when the proxy has no descriptor left for the target.  It is nobody
        else's fault, but no traceback either, and soon forgotten.
        """
        proxy = self.startProxy()
        listening = self.listener()
        port = listening.getsockname()[1]
        pid = proxy.process.pid
        first, second = (self.client(proxy.greeted()) for _ in range(2))
        # Clients cannot bring it there, for whom some are set aside: so the
        # limit comes down to what is in use.
        limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
        free = min(set(range(len(used) + 1)) - used)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limit[1]))
        self.assertAnswer(first, 1, "127.0.0.1", port)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        self.assertEqual(second.request("127.0.0.1", port)[0], 0)
        self.accept(listening)
        self.assertQuiet(proxy)

    def test_portZero(self) -> None:
        """
        02: nothing can listen on port 0.
        """
        proxy = self.startProxy()
        self.assertReply(proxy, 2, "127.0.0.1", 0)
        self.assertQuiet(proxy)

    def test_unknownName(self) -> None:
        """
        04: the name does not resolve.
        """
        proxy = self.startProxy()
        self.assertReply(proxy, 4, "no-such-host.invalid")
        self.assertQuiet(proxy)

    def test_impossibleName(self) -> None:
        """
        04: nobody could have such a name, so nobody is asked.
        """
        proxy = self.startProxy()
        for name in (b"", b"a\x00b", b"x" * 64 + b".example", b"x" * 255, b"a..b"):
            client = self.client(proxy.greeted())
            request = b"\x05\x01\x00\x03" + bytes((len(name),)) + name + b"\x00\x50"
            self.assertEqual(client.send(request), (4, UNSPECIFIED), name)
            self.assertEqual(client.receive(1), b"")
        self.assertQuiet(proxy)

    def test_timeout(self) -> None:
        """
        04: the target does not answer, as its backlog is full.
        """
        listening = self.listener(backlog=0)
        for _ in range(4):
            filling = socket.socket()
            self.addCleanup(filling.close)
            filling.setblocking(False)
            filling.connect_ex(listening.getsockname())
        proxy = self.startProxy("--port", "0", "--connect-timeout", "1")
        started = time.monotonic()
        self.assertReply(proxy, 4, *listening.getsockname())
        self.assertGreater(time.monotonic() - started, 0.9)
        self.assertQuiet(proxy)

    def test_refused(self) -> None:
        """
        05: nobody listens there.
        """
        proxy = self.startProxy()
        for host in ("127.0.0.1", "::1"):
            listening = self.listener(host)
            port = listening.getsockname()[1]
            listening.close()
            self.assertReply(proxy, 5, host, port)
        self.assertReply(proxy, 5, "localhost", port)
        self.assertQuiet(proxy)

    def test_command(self) -> None:
        """
        07: BIND, UDP ASSOCIATE and Tor's commands are switched off, others will
        never be.
        """
        proxy = self.startProxy("--port", "0", "--no-bind", "--no-udp", "--no-resolve")
        for command in (2, 3, 0, 4, 0xF0, 0xF1, 0xFF):
            self.assertReply(proxy, 7, "127.0.0.1", 9, command)
        self.assertReply(proxy, 7, "0.0.0.0", 0, 3)
        self.assertQuiet(proxy)

    def test_addressType(self) -> None:
        """
        08: an address of a type that nobody knows, whatever follows.
        """
        proxy = self.startProxy()
        for kind in (0, 2, 5, 0xFF):
            client = self.client(proxy.greeted())
            request = bytes((5, 1, 0, kind)) + b"\x7f\x00\x00\x01\x00\x50"
            self.assertEqual(client.send(request), (8, UNSPECIFIED))
            self.assertEqual(client.receive(1), b"")
        self.assertQuiet(proxy)


@implementer(IAccessPolicy)
class _NotLoopback(PermitAll):
    """
    Refuses by name, and by address.
    """

    def permitsRequest(self, request: Request, session: ISession) -> bool:
        return request.destination.host != "forbidden.example"

    def permitsAddress(
        self, address: Address, request: Request, session: ISession
    ) -> bool:
        return not address.host.startswith("127.") and address.host != "::1"


class PolicyTests(TestCase):
    """
    02, for which C{twistd socks5} has no rules yet: a server of this process.
    """

    async def test_policy(self) -> None:
        """
        A rule refuses the name, the address, or the address that a name has.
        """
        factory = SOCKS5Factory(reactor, policy=_NotLoopback())
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port = await endpoint.listen(factory)
        number = port.getHost().port

        def ask(host: str) -> tuple[int, tuple[str, int]]:
            connection = socket.create_connection(("127.0.0.1", number), PATIENCE)
            with connection:
                client = Client(connection)
                client.greet()
                answer = client.request(host, 9)
                self.assertEqual(client.receive(1), b"")
                return answer

        try:
            for host in ("forbidden.example", "127.0.0.1", "::1", "localhost"):
                answer = await deferToThread(ask, host)
                self.assertEqual(answer, (2, UNSPECIFIED), host)
        finally:
            stopped = port.stopListening()
            if isinstance(stopped, Deferred):
                await stopped
            await factory.drain(0)


class NamespaceTestCase(ReplyTestCase):
    """
    Networks of one's own.
    """

    def setUp(self) -> None:
        """
        Find out whether there can be one.
        """
        if shutil.which("ip") is None:
            self.skipTest("ip is not installed: apt-get install iproute2")
        if os.geteuid() != 0:
            self.skipTest("only root can make network namespaces")
        name = self.name()
        made = self.run_("ip", "netns", "add", name)
        if made.status:
            self.skipTest(f"no network namespaces here: {made.errors.strip()}")
        self.addCleanup(self.run_, "ip", "netns", "delete", name)
        self.a = name
        self.ip(name, "link set lo up")

    def name(self) -> str:
        """
        A name that no other process and no other test has.
        """
        return f"socks{os.getpid()}n{next(_numbers)}"

    def namespace(self) -> str:
        """
        Another namespace.
        """
        name = self.name()
        self.check("ip", "netns", "add", name)
        self.addCleanup(self.run_, "ip", "netns", "delete", name)
        self.ip(name, "link set lo up")
        return name

    def check(self, *command: str) -> None:
        """
        Run a command that has to succeed.
        """
        finished = self.run_(*command)
        self.assertEqual(finished.status, 0, f"{command}: {finished!r}")

    def ip(self, namespace: str, arguments: str) -> None:
        """
        Configure the network of a namespace.
        """
        self.check("ip", "-n", namespace, *arguments.split())

    def set(self, namespace: str, *settings: str) -> None:
        """
        Write C{path=value} settings below C{/proc/sys/net} of a namespace.
        """
        for setting in settings:
            path, _, value = setting.partition("=")
            self.check(
                *("ip", "netns", "exec", namespace, "sh", "-c"),
                f"echo {value} > /proc/sys/net/{path}",
            )

    def join(self, one: str, other: str, network: str) -> None:
        """
        Connect two namespaces.

        @param network: the device's name in both; C{10.0.N.0/24} and
            C{fd00:N::/64} for C{eN}, the first being number 1 and the other
            number 2.
        """
        number = network[1:]
        self.ip(one, f"link add {network} type veth peer name {network} netns {other}")
        for namespace, host in ((one, 1), (other, 2)):
            # The address counts at once, not only when it is proven unique.
            self.ip(namespace, f"addr add 10.0.{number}.{host}/24 dev {network}")
            self.ip(namespace, f"addr add fd00:{number}::{host}/64 dev {network} nodad")
            self.ip(namespace, f"link set {network} up")


class NamespaceTests(NamespaceTestCase):
    """
    Causes that need a network of their own.
    """

    def proxyInside(self, *options: str) -> str:
        """
        A proxy in the namespace.

        @return: the path of its socket.
        """
        path = os.path.join(self.directory(), "socks")
        self.proxy = self.startProxy(
            *("--listen", f"unix:{path}", *options),
            prefix=("ip", "netns", "exec", self.a),
        )
        return path

    def assertReplyAt(self, path: str, code: int, host: str, port: int = 9) -> None:
        """
        As L{assertReply}, by way of a UNIX socket.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(PATIENCE)
        connection.connect(path)
        client = self.client(Client(connection))
        self.assertEqual(client.greet(), b"\x05\x00")
        self.assertAnswer(client, code, host, port)

    def test_noRoute(self) -> None:
        """
        03: no route leads there.
        """
        path = self.proxyInside()
        self.assertReplyAt(path, 3, "192.0.2.1")
        self.assertReplyAt(path, 3, "2001:db8::1")
        self.assertQuiet(self.proxy)

    def test_noIPv6(self) -> None:
        """
        03: IPv6 is switched off.
        """
        self.set(self.a, "ipv6/conf/all/disable_ipv6=1")
        path = self.proxyInside()
        self.assertReplyAt(path, 3, "2001:db8::1")
        self.assertReplyAt(path, 3, "::1")
        self.assertQuiet(self.proxy)

    def test_prohibited(self) -> None:
        """
        02: the machine's own rules forbid it.
        """
        self.ip(self.a, "route add prohibit 192.0.2.0/24")
        path = self.proxyInside()
        self.assertReplyAt(path, 2, "192.0.2.1")
        self.assertQuiet(self.proxy)

    def test_unreachable(self) -> None:
        """
        04: a route says that the host is unreachable.
        """
        self.ip(self.a, "route add unreachable 192.0.2.0/24")
        self.ip(self.a, "-6 route add unreachable 2001:db8::/32")
        path = self.proxyInside()
        self.assertReplyAt(path, 4, "192.0.2.1")
        self.assertReplyAt(path, 4, "2001:db8::1")
        self.assertQuiet(self.proxy)

    def test_nobodyThere(self) -> None:
        """
        04: nobody on the target's network has its address.
        """
        self.join(self.a, self.namespace(), "e1")
        self.set(
            self.a,
            "ipv4/neigh/e1/retrans_time_ms=100",
            "ipv6/neigh/e1/retrans_time_ms=100",
        )
        path = self.proxyInside()
        self.assertReplyAt(path, 4, "10.0.1.77")
        self.assertReplyAt(path, 4, "fd00:1::77")
        self.assertQuiet(self.proxy)

    def test_unreachableBeyond(self) -> None:
        """
        03 and 04: a router reports that the network, or the host, is
        unreachable.
        """
        router = self.namespace()
        self.join(self.a, router, "e1")
        self.set(router, "ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1")
        self.ip(self.a, "route add default via 10.0.1.2")
        self.ip(router, "route add unreachable 192.0.2.0/24")
        path = self.proxyInside()
        self.assertReplyAt(path, 4, "192.0.2.1")
        self.assertReplyAt(path, 3, "198.51.100.1")
        self.assertQuiet(self.proxy)

    def test_dropped(self) -> None:
        """
        04: a packet filter swallows everything, and C{--connect-timeout} is
        over.
        """
        if shutil.which("nft") is None:
            self.skipTest("nft is not installed: apt-get install nftables")
        other = self.namespace()
        self.join(self.a, other, "e1")
        for rule in (
            "add table inet t",
            "add chain inet t c { type filter hook input priority 0 ; }",
            "add rule inet t c tcp dport 9 drop",
        ):
            self.check("ip", "netns", "exec", other, "nft", rule)
        path = self.proxyInside("--connect-timeout", "1")
        self.assertReplyAt(path, 4, "10.0.1.2")
        self.assertReplyAt(path, 4, "fd00:1::2")
        # The same host answers where nothing is dropped.
        self.assertReplyAt(path, 5, "10.0.1.2", 10)
        self.assertReplyAt(path, 5, "fd00:1::2", 10)
        self.assertQuiet(self.proxy)

    def test_timeToLiveExpired(self) -> None:
        """
        06: a router on the way reports that the time to live is over.
        """
        router, target = self.namespace(), self.namespace()
        self.join(self.a, router, "e1")
        self.join(router, target, "e2")
        self.ip(self.a, "route add default via 10.0.1.2")
        self.ip(self.a, "-6 route add default via fd00:1::2")
        self.ip(target, "route add default via 10.0.2.1")
        self.ip(target, "-6 route add default via fd00:2::1")
        self.set(router, "ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1")
        path = self.proxyInside()
        # Far enough: the target itself answers.
        self.assertReplyAt(path, 5, "10.0.2.2")
        self.assertReplyAt(path, 5, "fd00:2::2")
        self.set(self.a, "ipv4/ip_default_ttl=1", "ipv6/conf/e1/hop_limit=1")
        self.assertReplyAt(path, 6, "10.0.2.2")
        self.assertReplyAt(path, 6, "fd00:2::2")
        # The router can be reached.
        self.assertReplyAt(path, 5, "10.0.1.2")
        self.assertReplyAt(path, 5, "fd00:1::2")
        self.assertQuiet(self.proxy)
