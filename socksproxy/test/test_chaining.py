"""
Chains of real proxies: ours, Dante, microsocks and tinyproxy in all orders.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import re
import socket
import threading
from functools import partial
from pathlib import Path

from socksproxy.test.kerberos import Realm, needsKerberos
from socksproxy.test.processes import PATIENCE, Client, Proxy, needs, script
from socksproxy.test.rivals import RivalTestCase
from socksproxy.wire.address import Address
from socksproxy.wire.socks5 import Datagram

CHUNK = bytes(range(256)) * 4096


class ChainTestCase(RivalTestCase):
    """
    Our proxy in front of others.
    """

    def setUp(self) -> None:
        self.origin = self.listener(backlog=512)
        self.port = self.origin.getsockname()[1]

    def serve(self, greeting: bytes = b"") -> None:
        """
        The target says C{greeting}, takes all that comes, and says its digest.
        """
        self.sayDigests(self.origin, greeting)

    def via(self, *urls: str, more: tuple[str, ...] = ()) -> Proxy:
        """
        Our proxy, behind which are others.
        """
        options = [word for url in urls for word in ("--via", url)]
        return self.startProxy("--port", "0", *options, *more)

    def says(self, proxy: Proxy, words: str) -> bool:
        """
        Whether the log has something like C{words}.
        """
        return re.search(words, proxy.log) is not None

    def assertServes(self, proxy: Proxy, greeting: bytes = b"") -> None:
        """
        All arrives, and the answer that comes after our end.
        """
        client = self.client(proxy.greeted())
        code, _ = client.request("localhost", self.port)
        self.assertEqual(code, 0)
        client.socket.sendall(CHUNK)
        client.socket.shutdown(socket.SHUT_WR)
        expected = greeting + hashlib.sha256(CHUNK).hexdigest().encode()
        self.assertEqual(client.receive(len(expected) + 1), expected)
        client.socket.close()

    def answered(self, proxy: Proxy, host: str, port: int) -> int:
        """
        The reply to a request.
        """
        client = self.client(proxy.greeted())
        code, _ = client.request(host, port)
        client.socket.close()
        return code


class OrderTests(ChainTestCase):
    """
    Hops of every kind.
    """

    @needs("danted")
    def test_ours(self) -> None:
        """
        Our own in front of our own, with logins, and Dante as the last, which
        loses nothing either.
        """
        self.serve(b"220 hello\r\n")
        first = self.startProxy("--port", "0", "--auth", "memory:ann:s3cret")
        second = self.startProxy()
        proxy = self.via(
            f"socks5://ann:s3cret@127.0.0.1:{first.port}",
            f"socks5h://localhost:{second.port}",
            f"socks5://127.0.0.1:{self.startDante()}",
        )
        for _ in range(3):
            self.assertServes(proxy, b"220 hello\r\n")
        self.assertIn(f" ann CONNECT localhost:{second.port} ", first.log)
        for each in (first, second, proxy):
            self.assertQuiet(each)
            self.assertNotIn("s3cret", each.log)
        self.assertStops(proxy)

    @needs("danted", "tinyproxy")
    def test_mixed(self) -> None:
        """
        SOCKS5, SOCKS4, HTTP, our own and others: whichever is first and whichever
        is last.
        """
        dante, ours = self.startDante(), self.startProxy().port
        tiny = self.startTinyproxy("BasicAuth ann s3cret\n")
        urls = (
            f"socks4://127.0.0.1:{dante}",
            f"http://ann:s3cret@127.0.0.1:{tiny}",
            f"socks5://127.0.0.1:{ours}",
            f"http://127.0.0.1:{ours}",
            f"socks4a://127.0.0.1:{ours}",
        )
        for turn in range(5):
            proxy = self.via(*urls[turn:], *urls[:turn])
            client = self.client(proxy.greeted())
            code, _ = client.request("localhost", self.port)
            self.assertEqual(code, 0, urls[turn:])
            target = self.accept(self.origin)
            client.socket.sendall(b"question")
            self.assertEqual(target.receive(8), b"question")
            target.socket.sendall(b"answer")
            self.assertEqual(client.receive(6), b"answer")
            self.assertQuiet(proxy)
            proxy.terminate()

    @needs("microsocks")
    def test_microsocks(self) -> None:
        """
        microsocks, whose own login is not given away.
        """
        port = self.startMicrosocks("-u", "ann", "-P", "s3cret")
        file = Path(self.directory()) / "via"
        file.write_text(f"socks5://ann:s3cret@127.0.0.1:{port}\n")
        proxy = self.startProxy("--port", "0", "--via-file", str(file))
        client = self.client(proxy.greeted())
        code, _ = client.request("localhost", self.port)
        self.assertEqual(code, 0)
        target = self.accept(self.origin)
        target.socket.sendall(b"220")
        self.assertEqual(client.receive(3), b"220")
        command = Path(f"/proc/{proxy.process.pid}/cmdline").read_bytes()
        self.assertNotIn(b"s3cret", command)

    def hasAtMost(self, proxy: Proxy, descriptors: int) -> bool:
        """
        Whether nothing is left open.
        """
        return proxy.descriptors <= descriptors

    def test_replies(self) -> None:
        """
        What the last proxy says of the target is what the client is told; a proxy
        that is not there, or does not let us in, is trouble of ours.
        """
        last = self.startProxy("--port", "0", "--auth", "memory:ann:s3cret")
        first = self.startProxy()
        chain = f"socks5://127.0.0.1:{first.port}"
        proxy = self.via(chain, f"socks5://ann:s3cret@127.0.0.1:{last.port}")
        nobody = self.freePort()
        self.assertEqual(self.answered(proxy, "127.0.0.1", nobody), 5)
        self.assertEqual(self.answered(proxy, "name.invalid", 80), 4)
        for broken, words in (
            (f"socks5://127.0.0.1:{nobody}", "no connection to socks5://127.0.0.1"),
            (f"socks5://ann:wr0ng@127.0.0.1:{last.port}", "refused the login"),
            (f"socks5://127.0.0.1:{last.port}", "accepts none of the methods"),
            (f"http://127.0.0.1:{last.port}", "the proxy answered: status 407"),
        ):
            proxy = self.via(chain, broken)
            self.assertEqual(self.answered(proxy, "localhost", self.port), 1, broken)
            self.assertRegex(
                proxy.log, f": reply 01.*{words}|{words}.*reply 01|{words}"
            )
            self.assertNotIn("wr0ng", proxy.log)
            self.assertQuiet(proxy)
            proxy.terminate()


class CommandTests(ChainTestCase):
    """
    BIND and UDP ASSOCIATE, which SOCKS5 carries.
    """

    @needs("danted")
    def test_bind(self) -> None:
        """
        The last proxy listens; the client is told where, and who has come.
        """
        for last in (self.startProxy().port, self.startDante()):
            proxy = self.via(
                f"socks5://127.0.0.1:{self.startProxy().port}",
                f"socks5://127.0.0.1:{last}",
            )
            client = self.client(proxy.greeted())
            code, bound = client.request("127.0.0.1", 0, command=2)
            self.assertEqual(code, 0)
            peer = self.client(Client(socket.create_connection(bound, PATIENCE)))
            peer.socket.sendall(b"220 hello\r\n")
            head = client.receive(10)
            host, port = peer.socket.getsockname()
            self.assertEqual(
                head, b"\x05\0\0\x01" + socket.inet_aton(host) + port.to_bytes(2, "big")
            )
            self.assertEqual(client.receive(11), b"220 hello\r\n")
            client.socket.sendall(b"hello")
            self.assertEqual(peer.receive(5), b"hello")
            self.assertQuiet(proxy)

    @needs("danted")
    def test_associate(self) -> None:
        """
        Datagrams go through all of them, and come back.
        """
        echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(echo.close)
        echo.bind(("127.0.0.1", 0))
        echo.settimeout(PATIENCE)
        target = Address.ip(*echo.getsockname())
        for last in (self.startProxy().port, self.startDante()):
            proxy = self.via(
                f"socks5://127.0.0.1:{self.startProxy().port}",
                f"socks5://127.0.0.1:{last}",
            )
            client = self.client(proxy.greeted())
            code, bound = client.request("0.0.0.0", 0, command=3)
            self.assertEqual(code, 0)
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.addCleanup(udp.close)
            udp.settimeout(PATIENCE)
            for data in (b"one", bytes(1000), b"last"):
                udp.sendto(Datagram(target, data).encode(), bound)
                came, source = echo.recvfrom(1 << 16)
                self.assertEqual(came, data)
                echo.sendto(data + b" back", source)
                packet = udp.recv(1 << 16)
                self.assertEqual(
                    Datagram.parse(packet), Datagram(target, data + b" back")
                )
            self.assertQuiet(proxy)

    def test_associationLost(self) -> None:
        """
        When another proxy ends an association, ours ends too.
        """
        first, last = self.startProxy(), self.startProxy()
        proxy = self.via(
            f"socks5://127.0.0.1:{first.port}", f"socks5://127.0.0.1:{last.port}"
        )
        for doomed in (last, first):
            client = self.client(proxy.greeted())
            code, _ = client.request("0.0.0.0", 0, command=3)
            self.assertEqual(code, 0)
            doomed.kill()
            self.assertTrue(client.isReset())
            if doomed is last:
                last = self.startProxy("--port", str(last.port))
        self.assertQuiet(proxy)

    @needs("tinyproxy")
    def test_notSupported(self) -> None:
        """
        HTTP carries neither.
        """
        proxy = self.via(f"http://127.0.0.1:{self.startTinyproxy()}")
        for command in (2, 3):
            client = self.client(proxy.greeted())
            code, _ = client.request("0.0.0.0", 0, command=command)
            self.assertEqual(code, 7)
        self.assertQuiet(proxy)


class TLSTests(ChainTestCase):
    """
    TLS to a proxy.
    """

    @needs("openssl", "env")
    def test_verified(self) -> None:
        """
        The proxy's name is verified, against the system's authorities.
        """
        path = self.certificate()
        last = self.startProxy(
            "--listen", f"ssl:0:interface=127.0.0.1:privateKey={path}:certKey={path}"
        )
        first = self.startProxy()
        trusted = ("env", f"SSL_CERT_FILE={path}.crt")
        for prefix, host, isGood in (
            (trusted, "localhost", True),
            (trusted, "127.0.0.1", False),
            ((), "localhost", False),
        ):
            proxy = self.startProxy(
                *("--port", "0", "--via", f"socks5://127.0.0.1:{first.port}"),
                *("--via", f"socks5+tls://{host}:{last.port}"),
                prefix=prefix,
            )
            client = self.client(proxy.greeted())
            code, _ = client.request("localhost", self.port)
            self.assertEqual(code, 0 if isGood else 1)
            if isGood:
                target = self.accept(self.origin)
                client.socket.sendall(CHUNK)
                self.assertEqual(target.receive(len(CHUNK)), CHUNK)
                target.socket.sendall(CHUNK)
                self.assertEqual(client.receive(len(CHUNK)), CHUNK)
            else:
                wrong = "certificate verify failed|Verification"
                self.until(partial(self.says, proxy, wrong), wrong)
            self.assertQuiet(proxy)
            proxy.terminate()


@needsKerberos
class TicketTests(ChainTestCase):
    """
    Another proxy that wants a ticket of ours.
    """

    def setUp(self) -> None:
        super().setUp()
        self.realm = realm = Realm()
        self.addCleanup(realm.stop)
        realm.start()
        realm.enter(self.addCleanup)
        self.last = self.startProxy(
            *("--port", "0", "--gssapi", "--gssapi-keytab", realm.keytab),
            *("--gssapi-protection", "confidentiality"),
        )
        self.url = f"socks5+gssapi://localhost:{self.last.port}"

    def test_connect(self) -> None:
        """
        All goes through, alone and behind another one, and with workers.
        """
        self.serve(b"220 hello\r\n")
        plain = f"socks5://127.0.0.1:{self.startProxy().port}"
        for proxy in (
            self.via(self.url),
            self.via(plain, self.url),
            self.via(self.url, plain),
            self.via(self.url, more=("--workers", "2")),
        ):
            self.assertServes(proxy, b"220 hello\r\n")
            self.assertQuiet(proxy)
        self.until(
            lambda: self.says(self.last, f"alice@EXAMPLE.TEST CONNECT .*{self.port}"),
            "it did not go that way",
        )
        self.assertQuiet(self.last)

    def test_commands(self) -> None:
        """
        BIND and UDP ASSOCIATE go through, too.
        """
        proxy = self.via(self.url)
        client = self.client(proxy.greeted())
        code, bound = client.request("127.0.0.1", 0, command=2)
        self.assertEqual(code, 0)
        peer = self.client(Client(socket.create_connection(bound, PATIENCE)))
        self.assertEqual(client.send(b""), (0, peer.socket.getsockname()))
        peer.socket.sendall(b"220 hello\r\n")
        self.assertEqual(client.receive(11), b"220 hello\r\n")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
            echo.bind(("127.0.0.1", 0))
            echo.settimeout(PATIENCE)
            target = Address.ip(*echo.getsockname())
            client = self.client(proxy.greeted())
            code, bound = client.request("0.0.0.0", 0, command=3)
            self.assertEqual(code, 0)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.settimeout(PATIENCE)
                for data in (b"one", bytes(1000), b"last"):
                    udp.sendto(Datagram(target, data).encode(), bound)
                    came, source = echo.recvfrom(1 << 16)
                    echo.sendto(came, source)
                    packet = Datagram.parse(udp.recv(1 << 16))
                    self.assertEqual(packet, Datagram(target, data))
        self.assertQuiet(proxy)

    def test_noTicket(self) -> None:
        """
        Without one there is no way; the log says so, and which proxy it was.
        """
        os.environ["KRB5CCNAME"] = "FILE:" + self.realm.path("nowhere")
        proxy = self.via(self.url)
        self.assertEqual(self.answered(proxy, "127.0.0.1", self.port), 1)
        self.until(
            lambda: self.says(proxy, re.escape(f"{self.url}: no ticket for 'rcmd@")),
            f"the log does not say why: {proxy.log}",
        )
        self.assertQuiet(proxy)

    def test_keytab(self) -> None:
        """
        A service has a ticket made with a key of its own.
        """
        keytab = self.realm.clientKeytab()
        os.environ["KRB5CCNAME"] = "MEMORY:"
        os.environ["KRB5_CLIENT_KTNAME"] = keytab
        self.addCleanup(os.environ.pop, "KRB5_CLIENT_KTNAME")
        self.serve()
        self.assertServes(self.via(self.url))

    def test_silentKDC(self) -> None:
        """
        A KDC that says nothing holds up nobody else, and not the end.
        """
        silent = self.listener()
        self.realm.silence(silent)
        proxy = self.via(self.url)
        client = self.client(proxy.greeted())
        client.socket.sendall(b"\x05\x01\0\x01\x7f\0\0\x01\0\x09")
        kdc = self.accept(silent)
        self.client(proxy.greeted())
        # It is still waited for, which would have an end after 25 seconds.
        kdc.socket.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while kdc.socket.recv(1 << 16):
                pass
        self.assertStops(proxy)


class RelayTests(ChainTestCase):
    """
    A chain of plain TCP is relayed like a direct session.
    """

    def test_splice(self) -> None:
        """
        By the kernel: no byte of a big upload or download becomes a Python object
        of the first proxy's.  What came with the proxy's answer is not lost.
        """
        if not hasattr(os, "splice"):
            self.skipTest("this system or Python has no splice")
        tac = Path(self.directory()) / "chain.tac"
        last = self.startProxy()
        tac.write_text(_SPLICED.format(last=last.port, port=(port := self.freePort())))
        program = self.startProcess(
            [script("twistd"), "-n", "--pidfile=", "--no_save", "-y", str(tac)]
        )
        self._started(program, port)
        self.serve(b"220 hello\r\n")
        for _ in range(5):
            client = self.client(
                Client(socket.create_connection(("127.0.0.1", port), PATIENCE))
            )
            client.greet()
            code, _ = client.request("localhost", self.port)
            self.assertEqual(code, 0)
            client.socket.sendall(CHUNK)
            client.socket.shutdown(socket.SHUT_WR)
            expected = hashlib.sha256(CHUNK).hexdigest().encode()
            self.assertEqual(client.receive(1 << 16), b"220 hello\r\n" + expected)
            client.socket.close()
        self.until(
            lambda: program.log.count("relayed by SpliceRelay") >= 5,
            "no session was relayed",
        )
        self.assertEqual(program.log.count("relayed by"), 5)
        self.assertQuiet(program)


_SPLICED = """
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from socksproxy import DirectConnector, SOCKS5Factory, SOCKS5Service
from socksproxy.outbound.chain import ChainConnector
from socksproxy.outbound.hop import Hop

class Telling(SOCKS5Factory):
    def sessionFinished(self, session, relay, reason):
        print("relayed by", type(relay).__name__, flush=True)
        super().sessionFinished(session, relay, reason)

hop = Hop.parse("socks5://127.0.0.1:{last}")
chain = ChainConnector(reactor, hop, DirectConnector(reactor))
application = Application("chain")
endpoint = serverFromString(reactor, "tcp:{port}:interface=127.0.0.1")
factory = Telling(reactor, connector=chain)
SOCKS5Service(factory, [endpoint]).setServiceParent(application)
"""


class FailoverTests(ChainTestCase):
    """
    Pools under load.
    """

    def load(self, proxy: Proxy, count: int, killed: Proxy) -> list[object]:
        """
        Make C{count} short sessions, many at a time, and kill a proxy in the midst
        of them.

        @return: how each has ended, when it was not as it should.
        """
        done = threading.Semaphore(0)

        def session(number: int) -> object:
            try:
                with socket.create_connection(("127.0.0.1", proxy.port)) as sock:
                    client = Client(sock)
                    client.greet()
                    code, _ = client.request("localhost", self.port)
                    if code:
                        return f"reply {code}"
                    data = b"%d" % number * 100
                    try:
                        sock.sendall(data)
                        sock.shutdown(socket.SHUT_WR)
                        got = client.receive(65)
                    except OSError:
                        return "lost"
                    expected = hashlib.sha256(data).hexdigest().encode()
                    # One that was answered already may be lost with its proxy.
                    return None if got == expected else "lost"
            except (OSError, AssertionError) as wrong:
                return repr(wrong)
            finally:
                done.release()

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            futures = [pool.submit(session, number) for number in range(count)]
            for _ in range(count // 3):
                done.acquire()
            killed.kill()
            results = [future.result() for future in futures]
        return [result for result in results if result is not None]

    def areOver(self, proxy: Proxy) -> bool:
        """
        Whether all sessions that have begun have ended.
        """
        line = rf" CONNECT localhost:{self.port} via [^\s:]+:\d+"
        begun = re.findall(rf"{line}$", proxy.log, re.M)
        return len(begun) == len(re.findall(f"{line}: ", proxy.log))

    def test_killed(self) -> None:
        """
        One of two alternatives is killed under load, in the middle of a chain of
        three: no client that had not been answered yet gets an error.
        """
        self.serve()
        first, last = self.startProxy(), self.startProxy()
        one, other = self.startProxy(), self.startProxy()
        for strategy in ("failover", "round-robin"):
            doomed = self.startProxy()
            proxy = self.via(
                f"socks5://127.0.0.1:{first.port}",
                ",".join(
                    f"socks5://127.0.0.1:{each.port}" for each in (doomed, one, other)
                ),
                f"socks5://127.0.0.1:{last.port}",
                more=("--via-strategy", strategy),
            )
            wrong = self.load(proxy, 300, doomed)
            self.assertEqual(set(wrong) - {"lost"}, set())
            self.assertLess(len(wrong), 17)
            self.assertIn(f"socks5://127.0.0.1:{doomed.port} does not work", proxy.log)
            self.assertQuiet(proxy)
            self.assertIn(" CONNECT ", one.log)
            self.until(partial(self.areOver, proxy), "sessions are left")
            proxy.terminate()

    def test_probe(self) -> None:
        """
        With probes a broken proxy is known before anybody wants it, and a repaired
        one too.
        """
        self.serve()
        port, good = self.freePort(), self.startProxy()
        proxy = self.via(
            f"socks5://127.0.0.1:{port},socks5://127.0.0.1:{good.port}",
            more=("--via-probe", "0.2"),
        )
        name = f"socks5://127.0.0.1:{port}"
        self.until(lambda: f"{name} does not work" in proxy.log, "it is not found out")
        self.assertServes(proxy)
        self.assertIn(" CONNECT ", good.log)
        bad = self.startProxy("--port", str(port))
        self.until(lambda: f"{name} works again" in proxy.log, "it is not seen")
        self.assertServes(proxy)
        self.assertIn(" CONNECT ", bad.log)
        self.assertQuiet(proxy)

    def test_workers(self) -> None:
        """
        Each worker knows the way by itself.
        """
        self.serve()
        last = self.startProxy()
        proxy = self.startProxy(
            *("--port", "0", "--workers", "2"),
            *("--via", f"socks5://127.0.0.1:{last.port}"),
        )
        for _ in range(4):
            self.assertServes(proxy)
        self.assertEqual(len(re.findall(r" CONNECT \S+ via \S+$", last.log, re.M)), 4)
