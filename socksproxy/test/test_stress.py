"""
Real servers under stress: floods, shortage, garbage, and the end.
"""

from __future__ import annotations

import random
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from socksproxy.test.processes import PATIENCE, Client, ProcessTestCase, Proxy

GREETING = b"\x05\x01\x00"


class StressTestCase(ProcessTestCase):
    """
    What the tests share.
    """

    def session(self, proxy: Proxy) -> tuple[Client, Client]:
        """
        @return: a client and the target that it is connected to.
        """
        listening = self.listener()
        client = self.client(proxy.greeted())
        code, _ = client.request("127.0.0.1", listening.getsockname()[1])
        self.assertEqual(code, 0)
        target = self.accept(listening)
        listening.close()
        self.assertRelays(client, target)
        return client, target

    def assertRelays(self, client: Client, target: Client) -> None:
        """
        Bytes get from one to the other, both ways.
        """
        for one, other in ((client, target), (target, client)):
            one.socket.sendall(b"hello")
            self.assertEqual(other.receive(5), b"hello")

    def end(self, *clients: Client) -> None:
        """
        Close connections.
        """
        for client in clients:
            client.socket.close()

    def untilOnly(self, proxy: Proxy, descriptors: int) -> None:
        """
        Wait until the proxy has no more descriptors open than that.
        """
        try:
            self.until(lambda: proxy.descriptors <= descriptors, "not all are closed")
        except self.failureException:
            self.fail(f"{proxy.descriptors} descriptors are open, not {descriptors}")


class FloodTests(StressTestCase):
    """
    Clients that begin and do not go on.
    """

    def flood(self, proxy: Proxy, beginning: bytes) -> list[Client]:
        """
        500 of them.
        """
        clients = []
        for _ in range(500):
            client = self.client(proxy.client())
            client.socket.sendall(beginning)
            clients.append(client)
        return clients

    def test_othersAreServed(self) -> None:
        """
        They are in nobody's way, and leave nothing behind.
        """
        proxy = self.startProxy()
        self.end(*self.session(proxy))
        baseline = proxy.descriptors
        clients = []
        for beginning in (b"", b"\x05", GREETING + b"\x05\x01"):
            clients += self.flood(proxy, beginning)
            self.end(*self.session(proxy))
        self.end(*clients)
        self.untilOnly(proxy, baseline)
        self.assertQuiet(proxy)

    def test_deadline(self) -> None:
        """
        The deadline of the handshake ends them, wherever they are at, and
        nothing that has been connected by then.
        """
        proxy = self.startProxy("--port", "0", "--handshake-timeout", "1")
        self.end(*self.session(proxy))
        baseline = proxy.descriptors
        session = self.session(proxy)
        silent = self.flood(proxy, b"")
        slow = self.flood(proxy, GREETING + b"\x05\x01\x00\x03\xff")
        for client in silent:
            self.assertEqual(client.receive(1), b"")
        for client in slow:
            self.assertEqual(client.receive(3), b"\x05\x00")
        self.end(*silent, *slow)
        self.assertRelays(*session)
        self.end(*session)
        self.untilOnly(proxy, baseline)
        self.assertQuiet(proxy)

    def test_drippingClient(self) -> None:
        """
        A byte now and then does not put the deadline off.
        """
        proxy = self.startProxy("--port", "0", "--handshake-timeout", "1")
        client = self.client(proxy.client())
        client.socket.settimeout(0.1)
        started = time.monotonic()
        client.socket.sendall(b"\x05\xff")
        while time.monotonic() - started < PATIENCE:
            try:
                if client.socket.recv(1) == b"":
                    break
            except TimeoutError:
                client.socket.sendall(b"\x00")
            except ConnectionError:
                break
        else:
            self.fail("the client is still connected")
        self.assertLess(time.monotonic() - started, 20)
        self.assertQuiet(proxy)


class ShortageTests(StressTestCase):
    """
    Fewer descriptors than clients.
    """

    def startShort(self, *options: str) -> Proxy:
        """
        A proxy that may have 128 descriptors.
        """
        limited = ("sh", "-c", 'ulimit -n 128 && exec "$0" "$@"')
        return self.startProxy("--port", "0", *options, prefix=limited)

    def test_descriptors(self) -> None:
        """
        With more clients than it has descriptors the proxy goes on serving
        those it has, does not spin, and serves new ones when the others have
        gone.
        """
        proxy = self.startShort()
        self.end(*self.session(proxy))
        baseline = proxy.descriptors
        session = self.session(proxy)
        crowd = [self.hurried(proxy) for _ in range(300)]
        self.assertRelays(*session)
        cpu, started = proxy.cpuSeconds, time.monotonic()
        while time.monotonic() - started < 2:
            self.assertRelays(*session)
            time.sleep(0.1)
        used = (proxy.cpuSeconds - cpu) / (time.monotonic() - started)
        self.assertLess(used, 0.5, "it spins")
        self.assertLessEqual(proxy.descriptors, 128)
        for connection in crowd:
            connection.close()
        self.end(*self.session(proxy))
        self.assertRelays(*session)
        self.end(*session)
        self.untilOnly(proxy, baseline)
        self.assertQuiet(proxy)

    def hurried(self, proxy: Proxy) -> socket.socket:
        """
        A client that does not even wait for its connection: that may have to
        wait for its turn in the kernel.
        """
        connection = socket.socket()
        self.addCleanup(connection.close)
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", proxy.port))
        return connection

    def test_targets(self) -> None:
        """
        When more clients than can be served want a target at once they wait
        for their turn, and nearly all of them get what they want, in the
        end.
        """
        proxy = self.startShort()
        self.end(*self.session(proxy))
        baseline = proxy.descriptors
        listening = self.listener(backlog=1024)
        request = GREETING + b"\x05\x01\x00\x01\x7f\x00\x00\x01"
        request += struct.pack("!H", listening.getsockname()[1])

        def serve() -> None:
            while True:
                try:
                    accepted, _ = listening.accept()
                except OSError:
                    return
                accepted.close()

        target = threading.Thread(target=serve)
        target.start()

        def visit(number: int) -> bytes:
            try:
                client = proxy.client()
                with client.socket:
                    client.socket.sendall(request)
                    answer = client.receive(12)
                    # Long enough for many to be there at a time.
                    time.sleep(0.5)
                    return answer[2:4]
            except OSError as failure:
                return type(failure).__name__.encode()

        try:
            with ThreadPoolExecutor(300) as pool:
                answers = Counter(pool.map(visit, range(300)))
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            target.join(PATIENCE)
        self.assertNotIn(b"TimeoutError", answers)
        self.assertGreater(answers[b"\x05\x00"], 290, str(answers))
        listening.close()
        self.end(*self.session(proxy))
        self.untilOnly(proxy, baseline)
        self.assertQuiet(proxy)

    def test_maxConnections(self) -> None:
        """
        With C{--max-connections 2} a third client waits, and is served when one
        leaves.
        """
        proxy = self.startProxy("--port", "0", "--max-connections", "2")
        first, second = self.session(proxy), self.session(proxy)
        third = self.client(proxy.client())
        third.socket.sendall(GREETING)
        third.socket.settimeout(1)
        with self.assertRaises(TimeoutError):
            third.socket.recv(1)
        self.assertRelays(*first)
        self.assertRelays(*second)
        self.end(*first)
        third.socket.settimeout(PATIENCE)
        self.assertEqual(third.receive(2), b"\x05\x00")
        listening = self.listener()
        self.assertEqual(third.request("127.0.0.1", listening.getsockname()[1])[0], 0)
        self.assertRelays(third, self.accept(listening))
        self.assertRelays(*second)
        self.assertQuiet(proxy)

    def test_waitingClientLeaves(self) -> None:
        """
        One that left while it waited takes nobody's turn.
        """
        proxy = self.startProxy("--port", "0", "--max-connections", "1")
        first = self.session(proxy)
        for leave in (Client.reset, lambda client: client.socket.close()) * 5:
            leave(proxy.client())
        last = self.client(proxy.client())
        last.socket.sendall(GREETING)
        self.end(*first)
        self.assertEqual(last.receive(2), b"\x05\x00")
        self.assertQuiet(proxy)


class GarbageTests(StressTestCase):
    """
    Clients that speak something else, or break off.
    """

    def endings(self) -> list[Callable[[Client], None]]:
        """
        The ways to leave.
        """

        def close(client: Client) -> None:
            client.socket.close()

        def endWriting(client: Client) -> None:
            # It may be gone already, for what was said before.
            try:
                client.socket.shutdown(socket.SHUT_WR)
                client.socket.settimeout(PATIENCE)
                while client.socket.recv(65536):
                    pass
            except ConnectionError:
                pass
            client.socket.close()

        return [close, Client.reset, endWriting]

    def assertSurvives(self, proxy: Proxy, beginnings: list[bytes]) -> None:
        """
        Each of C{beginnings}, ended in each way, costs one connection and
        nothing else.
        """
        self.end(*self.session(proxy))
        baseline = proxy.descriptors
        for beginning in beginnings:
            for ending in self.endings():
                client = self.client(proxy.client())
                try:
                    client.socket.sendall(beginning)
                except ConnectionError:
                    pass
                ending(client)
        self.end(*self.session(proxy))
        self.untilOnly(proxy, baseline)
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    def test_randomBytes(self) -> None:
        """
        Random bytes, with and without a start that makes sense.
        """
        chance = random.Random(1928)
        starts = [b"", b"\x05", b"\x05\x01\x00", b"\x05\x01\x00\x05\x01\x00"]
        starts.append(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        starts.append(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        starts.append(b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00")
        self.assertSurvives(
            self.startProxy(),
            [
                chance.choice(starts) + chance.randbytes(chance.randrange(400))
                for _ in range(100)
            ],
        )

    def test_truncations(self) -> None:
        """
        A conversation that ends after any of its bytes.
        """
        listening = self.listener()
        port = listening.getsockname()[1]
        listening.close()
        whole = GREETING + b"\x05\x01\x00\x03\x09localhost" + struct.pack("!H", port)
        self.assertSurvives(
            self.startProxy(), [whole[:end] for end in range(len(whole) + 1)]
        )

    def test_truncatedLogins(self) -> None:
        """
        The same for a login.
        """
        whole = b"\x05\x01\x02\x01\x03ann\x06s3cret"
        proxy = self.startProxy("--port", "0", "--auth", "memory:ann:s3cret")
        # The reactor opens some of its own as it starts.
        served = self.client(proxy.client())
        self.assertEqual(served.greet(b"\x02"), b"\x05\x02")
        baseline = proxy.descriptors
        self.end(served)
        for end in range(len(whole) + 1):
            for ending in self.endings():
                client = self.client(proxy.client())
                client.socket.sendall(whole[:end])
                ending(client)
        self.untilOnly(proxy, baseline)
        self.assertStops(proxy)
        self.assertQuiet(proxy)
        self.assertNotIn("s3cret", proxy.log)

    def test_leavesWhileConnecting(self) -> None:
        """
        A client that is gone before its target is connected leaves nothing
        behind, nor does one whose target resets at once.
        """
        proxy = self.startProxy()
        self.end(*self.session(proxy))
        baseline = proxy.descriptors
        listening = self.listener()
        request = GREETING + b"\x05\x01\x00\x01\x7f\x00\x00\x01"
        request += struct.pack("!H", listening.getsockname()[1])
        for number in range(100):
            client = self.client(proxy.client())
            client.socket.sendall(request + b"early data")
            if number % 2:
                client.reset()
            else:
                self.accept(listening).reset()
                client.isReset()
                client.socket.close()
            if number % 2:
                # The connection may or may not have been made.
                listening.settimeout(0.05)
                try:
                    self.accept(listening).socket.close()
                except TimeoutError:
                    pass
                listening.settimeout(PATIENCE)
        listening.close()
        self.untilOnly(proxy, baseline)
        self.assertQuiet(proxy)


class StopTests(StressTestCase):
    """
    SIGTERM.
    """

    def listens(self, proxy: Proxy) -> bool:
        """
        Whether new clients get a connection.
        """
        try:
            proxy.client().socket.close()
        except ConnectionRefusedError:
            return False
        except ConnectionResetError:
            # It was in the queue as the listener closed.
            return False
        return True

    def test_sessionsMayEnd(self) -> None:
        """
        The listener closes at once; a session goes on, and when it has come to
        its end so has the proxy, long before the grace period is over.
        """
        proxy = self.startProxy("--port", "0", "--grace", "1000")
        session = self.session(proxy)
        proxy.process.send_signal(signal.SIGTERM)
        self.until(lambda: not self.listens(proxy), "it still listens")
        self.assertRelays(*session)
        self.assertIsNone(proxy.process.poll())
        client, target = session
        client.socket.sendall(b"last words")
        client.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(target.receive(11), b"last words")
        target.socket.sendall(b"answer")
        target.socket.close()
        self.assertEqual(client.receive(7), b"answer")
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    def test_graceIsOver(self) -> None:
        """
        What has not ended by then is reset, on both sides.
        """
        proxy = self.startProxy("--port", "0", "--grace", "1")
        sessions = [self.session(proxy) for _ in range(3)]
        halfOpen = self.client(proxy.greeted())
        proxy.process.send_signal(signal.SIGTERM)
        self.until(lambda: not self.listens(proxy), "it still listens")
        for client, target in sessions:
            self.assertTrue(client.isReset())
            self.assertTrue(target.isReset())
        halfOpen.isReset()
        self.assertStops(proxy)
        self.assertEqual(proxy.log.count("the proxy stopped"), 3)
        self.assertQuiet(proxy)

    def test_noGrace(self) -> None:
        """
        C{--grace 0} ends it all at once.
        """
        proxy = self.startProxy("--port", "0", "--grace", "0")
        client, target = self.session(proxy)
        self.assertStops(proxy)
        self.assertTrue(client.isReset())
        self.assertTrue(target.isReset())
        self.assertQuiet(proxy)

    def test_noSessions(self) -> None:
        """
        Without clients there is nothing to wait for.
        """
        proxy = self.startProxy("--port", "0", "--grace", "1000")
        self.end(*self.session(proxy))
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    def test_restart(self) -> None:
        """
        The port of a proxy that was stopped, with connections that have just
        ended, can be had again at once.
        """
        proxy = self.startProxy()
        port, session = proxy.port, self.session(proxy)
        proxy.process.send_signal(signal.SIGTERM)
        self.until(lambda: not self.listens(proxy), "it still listens")
        self.end(*session)
        self.assertStops(proxy)
        self.end(*self.session(self.startProxy("--port", str(port))))
