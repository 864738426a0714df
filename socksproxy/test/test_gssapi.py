"""
GSSAPI with a real C{twistd}, a real KDC and real clients: libcurl, which can log
in, and another implementation of a few lines, which can do all that there is.
"""

from __future__ import annotations

import os
import socket
import sys
import textwrap
import threading
from typing import Any
from unittest import skipIf

from socksproxy.test.kerberos import Initiator, KerberosTestCase, needsKerberos
from socksproxy.test.processes import (
    PATIENCE,
    Client,
    Finished,
    Proxy,
)
from socksproxy.test.test_udp import Associated

try:
    import pycurl
except ImportError:
    pycurl = None

SECRET = b"s3cret: nobody else should know this"

CURL = textwrap.dedent(
    """\
    import sys
    import pycurl

    curl = pycurl.Curl()
    curl.setopt(pycurl.PROXY, sys.argv[1])
    curl.setopt(pycurl.URL, sys.argv[2])
    curl.setopt(pycurl.SOCKS5_GSSAPI_NEC, sys.argv[3] == "nec")
    curl.setopt(pycurl.VERBOSE, True)
    try:
        curl.perform()
    except pycurl.error as wrong:
        sys.exit(str(wrong))
    """
)
"""
What C{curl --socks5-gssapi} does, and C{--socks5-gssapi-nec}, with the libcurl of
the package: that of Debian 12 forgets that it has offered GSSAPI.
"""


def _canGSSAPI() -> bool:
    """
    Whether libcurl can, and is not one of those that do not come to an end with it.
    """
    return pycurl is not None and "krb5" in pycurl.version


class ProtectedSocket:
    """
    A TCP connection, once it is protected.

    @ivar encrypts: whether what is sent is encrypted.
    @ivar encrypted: whether all that came was.
    @ivar raw: all that came, as it was.
    """

    def __init__(self, sock: socket.socket, initiator: Initiator) -> None:
        self._socket = sock
        self._initiator = initiator
        self._received = b""
        self.encrypts = True
        self.encrypted = True
        self.raw = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def sendall(self, data: bytes) -> None:
        for at in range(0, len(data), 60000):
            piece = data[at : at + 60000]
            self._socket.sendall(self._initiator.wrap(piece, self.encrypts))

    def recv(self, count: int) -> bytes:
        if not self._received:
            frame = self._frame()
            if not frame:
                return b""
            self.raw += frame
            self._received, encrypted = self._initiator.unwrap(frame)
            self.encrypted &= encrypted
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _frame(self) -> bytes:
        frame, size = b"", 4
        while len(frame) < size:
            data = self._socket.recv(size - len(frame))
            if not data:
                assert not frame, "the last message is cut short"
                return b""
            frame += data
            if len(frame) == 4:
                assert frame[:2] == b"\x01\x03", frame
                size += int.from_bytes(frame[2:], "big")
        return frame


class ProtectedUDP:
    """
    A UDP socket likewise.
    """

    def __init__(self, sock: socket.socket, initiator: Initiator) -> None:
        self._socket = sock
        self._initiator = initiator
        self.encrypts = True
        self.encrypted = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def send(self, data: bytes) -> None:
        self._socket.send(self._initiator.wrap(data, self.encrypts))

    def recv(self, count: int) -> bytes:
        frame = self._socket.recv(65_535)
        assert frame[:2] == b"\x01\x03", frame
        assert len(frame) == 4 + int.from_bytes(frame[2:4], "big")
        data, encrypted = self._initiator.unwrap(frame)
        self.encrypted &= encrypted
        return data


class GSSAPITestCase(KerberosTestCase):
    """
    What the tests share.
    """

    def proxy(self, *options: str) -> Proxy:
        return self.startProxy(
            *("--port", "0", "--gssapi", "--gssapi-keytab", self.realm.keytab), *options
        )

    def loggedIn(self, proxy: Proxy, level: int) -> tuple[Client, Initiator]:
        """
        A client that is ready for its request.
        """
        client, initiator = self.client(proxy.client()), Initiator()
        self.assertEqual(client.greet(b"\x00\x01"), b"\x05\x01")
        self.establish(client, initiator)
        type, token = self.answer(client, initiator.level(bytes((level,))))
        agreed = initiator.context.unwrap(token).message
        self.assertEqual((type, agreed), (2, bytes((level,))))
        if level:
            protected: Any = ProtectedSocket(client.socket, initiator)
            protected.encrypts = level != 1
            client.socket = protected
        return client, initiator

    def establish(self, client: Client, initiator: Initiator) -> None:
        """
        Both sides of a context.
        """
        frame = initiator.token()
        while frame:
            type, token = self.answer(client, frame)
            self.assertEqual(type, 1)
            frame = initiator.token(token)

    def answer(self, client: Client, frame: bytes) -> tuple[int, bytes]:
        """
        The type and the token of the answer to C{frame}.
        """
        client.socket.sendall(frame)
        head = client.receive(2)
        if head == b"\x01\xff":
            return 0xFF, b""
        self.assertEqual(head[:1], b"\x01")
        return head[1], client.receive(int.from_bytes(client.receive(2), "big"))

    def relayed(self, proxy: Proxy, level: int) -> tuple[Client, Client]:
        """
        A client and its target.
        """
        listening = self.listener()
        client, _ = self.loggedIn(proxy, level)
        code, _ = client.request("127.0.0.1", listening.getsockname()[1])
        self.assertEqual(code, 0)
        return client, self.accept(listening)

    def said(self, proxy: Proxy, *words: str) -> None:
        """
        It logs a line with all of C{words}.
        """
        self.until(
            lambda: any(
                all(word in line for word in words) for line in proxy.log.splitlines()
            ),
            f"no line with {words}: {proxy.log}",
        )


@needsKerberos
class LevelTests(GSSAPITestCase):
    """
    Another implementation, at all levels.
    """

    def test_connect(self) -> None:
        """
        Bytes go both ways, and so do the ends of both sides; at the levels that
        encrypt nobody can read them.
        """
        proxy = self.proxy()
        for level in range(4):
            client, target = self.relayed(proxy, level)
            data = SECRET + os.urandom(300_000)
            target.socket.sendall(data)
            self.assertEqual(client.receive(len(data)), data)
            if level:
                protected: Any = client.socket
                self.assertEqual(SECRET in protected.raw, level == 1)
                self.assertEqual(protected.encrypted, level != 1)
            client.socket.sendall(data)
            client.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(target.receive(len(data) + 1), data)
            target.socket.sendall(SECRET)
            target.socket.close()
            self.assertEqual(client.receive(len(SECRET) + 1), SECRET)
            self.said(
                proxy,
                "alice@EXAMPLE.TEST CONNECT 127.0.0.1:",
                f"closed, {len(data)} bytes sent, {len(data) + len(SECRET)} received",
            )
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    def test_atOnce(self) -> None:
        """
        What is protected may follow the level without a pause.
        """
        proxy = self.proxy()
        listening = self.listener()
        client, initiator = self.client(proxy.client()), Initiator()
        client.greet(b"\x01")
        self.establish(client, initiator)
        port = listening.getsockname()[1].to_bytes(2, "big")
        request = b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port
        client.socket.sendall(
            initiator.level(b"\x02")
            + initiator.wrap(request)
            + initiator.wrap(SECRET)
            + initiator.wrap(SECRET)
        )
        self.assertEqual(self.accept(listening).receive(2 * len(SECRET)), SECRET * 2)

    def test_bind(self) -> None:
        """
        BIND's answers are protected, and what follows them.
        """
        proxy = self.proxy()
        for level in (1, 2):
            client, _ = self.loggedIn(proxy, level)
            code, bound = client.request("127.0.0.1", 9, 2)
            self.assertEqual(code, 0)
            target = self.client(Client(socket.create_connection(bound, PATIENCE)))
            code, peer = client.send(b"")
            self.assertEqual((code, peer), (0, target.socket.getsockname()))
            target.socket.sendall(SECRET)
            self.assertEqual(client.receive(len(SECRET)), SECRET)
            client.socket.sendall(SECRET)
            self.assertEqual(target.receive(len(SECRET)), SECRET)
        self.assertQuiet(proxy)

    def associated(self, proxy: Proxy, level: int) -> Associated:
        client, initiator = self.loggedIn(proxy, level)
        code, bound = client.request("0.0.0.0", 0, 3)
        self.assertEqual(code, 0)
        associated = Associated(client, bound)
        self.addCleanup(associated.close)
        self.raw = associated.udp
        protected: Any = ProtectedUDP(associated.udp, initiator)
        protected.encrypts = level != 1
        associated.udp = protected
        return associated

    def target(self) -> socket.socket:
        target = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(target.close)
        target.settimeout(PATIENCE)
        target.bind(("127.0.0.1", 0))
        return target

    def exchange(self, client: Associated, target: socket.socket, data: bytes) -> Any:
        """
        C{data} goes to C{target} and comes back.

        @return: where it came from.
        """
        host, port = target.getsockname()
        client.send(data, host, port)
        received, source = target.recvfrom(65_535)
        self.assertEqual(received, data)
        target.sendto(data, source)
        self.assertEqual(client.receive(host, port), data)
        return source

    def test_datagrams(self) -> None:
        """
        Datagrams of all sizes go both ways, each in a message of its own.
        """
        proxy = self.proxy()
        for level in (1, 2):
            client, target = self.associated(proxy, level), self.target()
            for size in (0, 1, 1000, 60_000):
                self.exchange(client, target, SECRET[:size] + os.urandom(size))
            protected: Any = client.udp
            self.assertEqual(protected.encrypted, level != 1)
            client.tcp.socket.close()
            self.said(proxy, "UDP_ASSOCIATE", "4 datagrams sent, 4 received, 0 dropped")
        self.assertQuiet(proxy)

    def test_droppedDatagrams(self) -> None:
        """
        One that is not protected is dropped, and does not even tell where the
        client is; so is one that would be too long with its protection.  The
        association lives on.
        """
        proxy = self.proxy()
        client, target = self.associated(proxy, 2), self.target()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
            for data in (SECRET, b"\0\0\0\x01\x7f\0\0\1\0\x09x", b"\x01\x03\0\1x"):
                forger.sendto(data, self.raw.getpeername())
        self.raw.send(SECRET)
        source = self.exchange(client, target, SECRET)
        target.sendto(bytes(65_470), source)
        self.exchange(client, target, SECRET)
        client.tcp.socket.close()
        self.said(proxy, "UDP_ASSOCIATE", "2 datagrams sent, 2 received, 5 dropped")
        self.assertQuiet(proxy)

    def test_failure(self) -> None:
        """
        A reply that refuses is protected too, and followed by the end.
        """
        proxy = self.proxy()
        listening = self.listener()
        port = listening.getsockname()[1]
        listening.close()
        client, _ = self.loggedIn(proxy, 2)
        self.assertEqual(client.request("127.0.0.1", port)[0], 5)
        self.assertEqual(client.receive(1), b"")

    def test_resets(self) -> None:
        """
        A reset of either side is one for the other; so is an end in the middle of
        a message.
        """
        proxy = self.proxy()
        client, target = self.relayed(proxy, 2)
        target.reset()
        self.assertTrue(client.isReset())
        client, target = self.relayed(proxy, 2)
        client.reset()
        self.assertTrue(target.isReset())
        client, target = self.relayed(proxy, 2)
        protected: Any = client.socket
        protected._socket.sendall(b"\x01\x03\x01")
        client.socket.shutdown(socket.SHUT_WR)
        self.assertTrue(target.isReset())
        self.said(proxy, "the client's last message is cut short")
        self.assertQuiet(proxy)

    def test_forged(self) -> None:
        """
        What somebody else sends ends the session, and does not reach the target.
        """
        proxy = self.proxy()
        client, target = self.relayed(proxy, 2)
        protected: Any = client.socket
        protected._socket.sendall(b"\x01\x03\x00\x04fake")
        self.assertEqual(target.isReset(), True)
        self.said(proxy, "GSSAPI message", "0 bytes sent")
        self.assertQuiet(proxy)

    def test_stalled(self) -> None:
        """
        A client that does not read stops its target; then it gets all of it.
        """
        proxy = self.proxy()
        client, target = self.relayed(proxy, 2)
        target.socket.setblocking(False)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += target.socket.send(bytes(1 << 16))
        except BlockingIOError:
            pass
        self.assertLess(sent, 64 << 20)
        target.socket.close()
        received = 0
        while data := client.socket.recv(1 << 16):
            received += len(data)
        self.assertEqual(received, sent)


@needsKerberos
class LoginTests(GSSAPITestCase):
    """
    Who is let in.
    """

    def test_least(self) -> None:
        """
        Who wants too little protection is refused.
        """
        proxy = self.proxy("--gssapi-protection", "confidentiality")
        for level, granted in ((0, False), (1, False), (2, True), (3, True)):
            client, initiator = self.client(proxy.client()), Initiator()
            client.greet(b"\x01")
            self.establish(client, initiator)
            type, _ = self.answer(client, initiator.level(bytes((level,))))
            self.assertEqual(type, 2 if granted else 0xFF)
            if not granted:
                self.assertEqual(client.receive(1), b"")
        self.said(proxy, "refused: GSSAPI with less protection than it has to have")

    def test_noTicket(self) -> None:
        """
        Nobody else is let in: not without a ticket, not with somebody's that was
        listened to, not without offering GSSAPI.
        """
        proxy = self.proxy()
        client, initiator = self.client(proxy.client()), Initiator()
        self.assertEqual(client.greet(b"\x01"), b"\x05\x01")
        token = initiator.token()
        self.assertEqual(self.answer(client, token)[0], 1)
        for frame in (token, initiator.frame(1, b"ticket")):
            client = self.client(proxy.client())
            client.greet(b"\x01")
            self.assertEqual(self.answer(client, frame)[0], 0xFF)
            self.assertEqual(client.receive(1), b"")
        client = self.client(proxy.client())
        self.assertEqual(client.greet(b"\x00\x02"), b"\x05\xff")
        self.said(proxy, "refused: GSSAPI login:")
        self.assertQuiet(proxy)

    def test_besidePasswords(self) -> None:
        """
        With passwords too either will do; GSSAPI comes first.
        """
        proxy = self.proxy("--auth", "memory:bob:s3cret")
        client = self.client(proxy.client())
        self.assertEqual(client.greet(b"\x02\x01"), b"\x05\x01")
        client = self.client(proxy.client())
        self.assertEqual(client.greet(b"\x02"), b"\x05\x02")
        client.socket.sendall(b"\x01\x03bob\x06s3cret")
        self.assertEqual(client.receive(2), b"\x01\x00")

    def test_newKeys(self) -> None:
        """
        New keys count without a restart.
        """
        proxy = self.proxy()
        self.loggedIn(proxy, 2)
        self.realm.renewKeys()
        self.loggedIn(proxy, 2)

    def test_workers(self) -> None:
        """
        Every worker has the keys, and all of them know of each other's tickets.
        """
        proxy = self.proxy("--workers", "2")
        for _ in range(6):
            client, target = self.relayed(proxy, 2)
            client.socket.sendall(SECRET)
            self.assertEqual(target.receive(len(SECRET)), SECRET)

    def test_manyAtOnce(self) -> None:
        """
        Many log in at the same time, and none gets in another's way.
        """
        proxy = self.proxy()
        clients = [(self.client(proxy.client()), Initiator()) for _ in range(60)]
        for client, initiator in clients:
            client.greet(b"\x01")
            client.socket.sendall(initiator.token())
        for client, initiator in clients:
            head = client.receive(4)
            self.assertEqual(head[:2], b"\x01\x01")
            initiator.token(client.receive(int.from_bytes(head[2:], "big")))
            self.assertEqual(self.answer(client, initiator.level(b"\x02"))[0], 2)


@needsKerberos
@skipIf(not _canGSSAPI(), "there is no pycurl with GSSAPI")
class CurlTests(GSSAPITestCase):
    """
    libcurl, which has no protection to offer but asks for it.
    """

    def curl(self, proxy: Proxy, host: str, nec: bool = False) -> Finished:
        """
        Fetch a page of a few bytes.
        """
        listening = self.listener()

        def serve() -> None:
            try:
                connected, _ = listening.accept()
            except OSError:
                return
            with connected:
                while b"\r\n\r\n" not in connected.recv(65536, socket.MSG_PEEK):
                    pass
                connected.recv(65536)
                connected.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + SECRET)

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            return self.run_(
                *(sys.executable, "-c", CURL),
                f"socks5h://{host}:{proxy.port}",
                f"http://127.0.0.1:{listening.getsockname()[1]}/",
                "nec" if nec else "",
            )
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()

    def test_login(self) -> None:
        """
        It logs in, with the level protected and not.
        """
        proxy = self.proxy("--gssapi-protection", "off", "--gssapi-nec")
        for host in ("localhost", "127.0.0.1"):
            for nec in (False, True):
                done = self.curl(proxy, host, nec)
                self.assertEqual(done.status, 0, repr(done))
                self.assertEqual(done.data, SECRET)
                self.assertIn("authenticated user alice@EXAMPLE.TEST", done.errors)
        self.said(proxy, "alice@EXAMPLE.TEST CONNECT")
        self.assertQuiet(proxy)

    def test_necRefused(self) -> None:
        """
        Without the option a level in clear is refused.
        """
        proxy = self.proxy("--gssapi-protection", "off")
        done = self.curl(proxy, "localhost", nec=True)
        self.assertNotEqual(done.status, 0)
        self.said(proxy, "refused: level of GSSAPI protection")
        self.assertEqual(self.curl(proxy, "localhost").status, 0)

    def test_otherService(self) -> None:
        """
        A ticket for another service does not open this one.
        """
        proxy = self.proxy("--gssapi-service", "rcmd@127.0.0.1")
        self.assertNotEqual(self.curl(proxy, "localhost").status, 0)
        self.said(proxy, "refused: GSSAPI login:")


# They are there to be subclassed.
del KerberosTestCase
