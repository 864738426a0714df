"""
Other people's clients, each against a real C{twistd} process.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import skipIf

from socksproxy.test.processes import PATIENCE, Client, ProcessTestCase, Proxy, needs

try:
    import socks
except ImportError:
    socks = None

try:
    import python_socks
    import python_socks.async_.asyncio
    import python_socks.sync
except ImportError:
    hasPythonSocks = False
else:
    hasPythonSocks = True

CHUNK = bytes(range(256)) * 256
"""
64 KiB in which no byte can change places unnoticed.
"""

HUNDRED_MEGABYTES = 1600 * len(CHUNK)


def digestOf(length: int) -> str:
    """
    The SHA-256 of so many bytes of the origin's.
    """
    digest = hashlib.sha256()
    for _ in range(length // len(CHUNK)):
        digest.update(CHUNK)
    digest.update(CHUNK[: length % len(CHUNK)])
    return digest.hexdigest()


class _Origin(BaseHTTPRequestHandler):
    """
    C{GET /N} gives N bytes; C{PUT} gives the SHA-256 of what was sent.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """
        A download.
        """
        length = int(self.path.strip("/").partition("?")[0])
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        while length:
            sent = min(length, len(CHUNK))
            self.wfile.write(CHUNK[:sent])
            length -= sent

    def do_PUT(self) -> None:
        """
        An upload.
        """
        left = int(self.headers["Content-Length"])
        digest = hashlib.sha256()
        while left:
            data = self.rfile.read(min(left, len(CHUNK)))
            digest.update(data)
            left -= len(data)
        answer = digest.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """
        Say nothing.
        """


class _OriginServer(ThreadingHTTPServer):
    """
    An HTTP server for many clients at a time.
    """

    request_queue_size = 512
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        """
        Bind, without the look-up of a host name that is the default.
        """
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name = "localhost"
        self.server_port = self.server_address[1]


class _OriginServer6(_OriginServer):
    """
    The same for IPv6.
    """

    address_family = socket.AF_INET6


class InteropTestCase(ProcessTestCase):
    """
    What the clients have in common.
    """

    def origin(self, host: str = "127.0.0.1") -> int:
        """
        Start an HTTP server.

        @return: its port.
        """
        kind = _OriginServer6 if ":" in host else _OriginServer
        server = kind((host, 0), _Origin)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self.addCleanup(stop)
        return server.server_port

    def echo(self, host: str = "127.0.0.1") -> int:
        """
        A target for one client: it sends back what it gets, to the end.

        @return: its port.
        """
        listening = self.listener(host)

        def serve() -> None:
            try:
                connection, _ = listening.accept()
            except OSError:
                return  # The test is over: nobody came.
            with connection:
                connection.settimeout(PATIENCE)
                while data := connection.recv(65536):
                    connection.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join, PATIENCE)
        self.addCleanup(listening.shutdown, socket.SHUT_RDWR)
        port: int = listening.getsockname()[1]
        return port

    def assertClean(self, proxy: Proxy) -> None:
        """
        The proxy has nothing to complain of, and ends well.
        """
        self.assertStops(proxy)
        self.assertQuiet(proxy)


@needs("curl")
class CurlTests(InteropTestCase):
    """
    curl.
    """

    def curl(self, *arguments: str) -> str:
        """
        Run it.

        @return: the sizes, statuses or bodies that it wrote.
        """
        finished = self.run_("curl", "-sS", "--noproxy", "", *arguments)
        self.assertEqual(finished.status, 0, repr(finished))
        return finished.output

    def test_localResolution(self) -> None:
        """
        C{--socks5}: curl resolves, and asks for an address.
        """
        port, proxy = self.origin(), self.startProxy()
        body = self.curl(
            "--socks5", f"127.0.0.1:{proxy.port}", f"http://127.0.0.1:{port}/10"
        )
        self.assertEqual(len(body), 10)
        self.assertClean(proxy)

    def test_remoteResolution(self) -> None:
        """
        C{--socks5-hostname}: the proxy resolves.  Its log has the name.
        """
        port, proxy = self.origin(), self.startProxy()
        body = self.curl(
            *("--socks5-hostname", f"127.0.0.1:{proxy.port}"),
            f"http://localhost:{port}/10",
        )
        self.assertEqual(len(body), 10)
        self.until(lambda: f"CONNECT localhost:{port}" in proxy.log, "no log line")
        self.assertClean(proxy)

    def test_IPv6(self) -> None:
        """
        An IPv6 target, by address.
        """
        port, proxy = self.origin("::1"), self.startProxy()
        for option in ("--socks5", "--socks5-hostname"):
            body = self.curl(
                option, f"127.0.0.1:{proxy.port}", f"http://[::1]:{port}/10"
            )
            self.assertEqual(len(body), 10)
        self.assertClean(proxy)

    def test_IPv6Proxy(self) -> None:
        """
        A proxy on IPv6.
        """
        port = self.origin()
        proxy = self.startProxy("--interface", "::1", "--port", "0")
        body = self.curl(
            "--socks5", f"[::1]:{proxy.port}", f"http://127.0.0.1:{port}/10"
        )
        self.assertEqual(len(body), 10)
        self.assertClean(proxy)

    def test_login(self) -> None:
        """
        C{-U} with the right password is let in.
        """
        port = self.origin()
        proxy = self.startProxy("--port", "0", "--auth", "memory:ann:s3cret")
        for option in ("--socks5", "--socks5-hostname"):
            body = self.curl(
                *(option, f"127.0.0.1:{proxy.port}", "-U", "ann:s3cret"),
                f"http://127.0.0.1:{port}/10",
            )
            self.assertEqual(len(body), 10)
        self.assertClean(proxy)

    def test_needlessLogin(self) -> None:
        """
        C{-U} with a server that wants no login works too.
        """
        port, proxy = self.origin(), self.startProxy()
        body = self.curl(
            *("--socks5", f"127.0.0.1:{proxy.port}", "-U", "ann:s3cret"),
            f"http://127.0.0.1:{port}/10",
        )
        self.assertEqual(len(body), 10)
        self.assertClean(proxy)

    def test_badLogin(self) -> None:
        """
        A wrong password and none are refused: status 97, the proxy.
        """
        proxy = self.startProxy("--port", "0", "--auth", "memory:ann:s3cret")
        url = f"http://127.0.0.1:{self.origin()}/10"
        for user in (("-U", "ann:secret"), ()):
            finished = self.run_(
                *("curl", "-sS", "--noproxy", ""),
                *("--socks5", f"127.0.0.1:{proxy.port}", *user, url),
            )
            self.assertEqual(finished.status, 97, repr(finished))
        self.assertClean(proxy)

    def test_manyAtOnce(self) -> None:
        """
        200 transfers in parallel are all whole.
        """
        port, proxy = self.origin(), self.startProxy()
        length = 3 * len(CHUNK) + 7
        statistics = self.curl(
            *("--parallel", "--parallel-immediate", "--parallel-max", "200"),
            *("--socks5-hostname", f"127.0.0.1:{proxy.port}"),
            *("-w", "%{http_code} %{size_download}\\n"),
            *("-o", "#1", f"http://127.0.0.1:{port}/{length}?[1-200]"),
        )
        self.assertEqual(statistics.splitlines(), [f"200 {length}"] * 200)
        self.until(
            lambda: proxy.log.count(" received in ") == 200, "a session does not end"
        )
        self.assertClean(proxy)

    def test_largeDownload(self) -> None:
        """
        100 MB arrive as they were sent.
        """
        port, proxy = self.origin(), self.startProxy()
        path = os.path.join(self.directory(), "download")
        self.curl(
            *("--socks5", f"127.0.0.1:{proxy.port}", "-o", path),
            f"http://127.0.0.1:{port}/{HUNDRED_MEGABYTES}",
        )
        digest = hashlib.sha256()
        with open(path, "rb") as download:
            while data := download.read(1 << 20):
                digest.update(data)
        self.assertEqual(digest.hexdigest(), digestOf(HUNDRED_MEGABYTES))
        self.assertClean(proxy)

    def test_largeUpload(self) -> None:
        """
        So they do the other way.
        """
        port, proxy = self.origin(), self.startProxy()
        path = os.path.join(self.directory(), "upload")
        with open(path, "wb") as upload:
            for _ in range(HUNDRED_MEGABYTES // len(CHUNK)):
                upload.write(CHUNK)
        digest = self.curl(
            *("--socks5", f"127.0.0.1:{proxy.port}", "-T", path),
            f"http://127.0.0.1:{port}/",
        )
        self.assertEqual(digest, digestOf(HUNDRED_MEGABYTES))
        self.assertClean(proxy)

    def test_refused(self) -> None:
        """
        curl understands the reply when nobody listens at the target.
        """
        listening = self.listener()
        port = listening.getsockname()[1]
        listening.close()
        proxy = self.startProxy()
        finished = self.run_(
            *("curl", "-sS", "--noproxy", "", "--socks5"),
            *(f"127.0.0.1:{proxy.port}", f"http://127.0.0.1:{port}/"),
        )
        self.assertEqual(finished.status, 97, repr(finished))
        self.assertIn("(5)", finished.errors)
        self.assertClean(proxy)


@needs("nc")
class NetcatTests(InteropTestCase):
    """
    OpenBSD's C{nc -X 5}.
    """

    def setUp(self) -> None:
        """
        There are other programs of this name.
        """
        if "-X proxy_protocol" not in self.run_("nc", "-h").errors:
            self.skipTest("nc is not OpenBSD's: apt-get install netcat-openbsd")

    def nc(self, proxy: Proxy, *arguments: str, stdin: bytes) -> bytes:
        """
        Run it.

        @return: what came from the target.
        """
        finished = self.run_(
            *("nc", "-X", "5", "-x", f"127.0.0.1:{proxy.port}", *arguments),
            stdin=stdin,
        )
        self.assertEqual(finished.status, 0, repr(finished))
        return finished.data

    def test_halfClose(self) -> None:
        """
        C{nc -N} ends its side after its input; the target sees the end, and
        what it answers then still arrives, all of it.
        """
        listening, proxy = self.listener(), self.startProxy()
        received: list[bytes] = []

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                client = Client(connection)
                received.append(client.receive(1 << 30))
                connection.sendall(CHUNK * 64)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        output = self.nc(proxy, "-N", "127.0.0.1", str(port), stdin=CHUNK * 3)
        thread.join(PATIENCE)
        self.assertEqual(received, [CHUNK * 3])
        self.assertTrue(output == CHUNK * 64, f"{len(output)} bytes came")
        self.assertClean(proxy)

    def test_targetEndsFirst(self) -> None:
        """
        The target ends its side first and goes on to receive.
        """
        listening, proxy = self.listener(), self.startProxy()
        port = listening.getsockname()[1]
        process = subprocess.Popen(
            ["nc", "-X", "5", "-x", f"127.0.0.1:{proxy.port}", "-N"]
            + ["127.0.0.1", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.kill)
        assert process.stdin is not None
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        target = self.accept(listening)
        target.socket.sendall(b"bye")
        target.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(process.stdout.read(3), b"bye")
        process.stdin.write(b"and more")
        process.stdin.close()
        self.assertEqual(target.receive(9), b"and more")
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertClean(proxy)

    def test_name(self) -> None:
        """
        A name is the proxy's to resolve.
        """
        proxy = self.startProxy()
        output = self.nc(proxy, "-N", "localhost", str(self.echo()), stdin=b"hello")
        self.assertEqual(output, b"hello")
        self.assertIn("CONNECT localhost:", proxy.log)
        self.assertClean(proxy)

    def test_IPv6(self) -> None:
        """
        An IPv6 target.
        """
        proxy = self.startProxy()
        output = self.nc(proxy, "-N", "::1", str(self.echo("::1")), stdin=b"hello")
        self.assertEqual(output, b"hello")
        self.assertClean(proxy)


@skipIf(socks is None, "PySocks is not installed: pip install PySocks")
class PySocksTests(InteropTestCase):
    """
    PySocks.
    """

    def exchange(self, proxy: Proxy, host: str, port: int, **options: object) -> None:
        """
        Connect, and send something there and back.
        """
        connection = socks.socksocket()
        self.addCleanup(connection.close)
        connection.settimeout(PATIENCE)
        connection.set_proxy(socks.SOCKS5, "127.0.0.1", proxy.port, **options)
        connection.connect((host, port))
        connection.sendall(b"hello")
        self.assertEqual(connection.recv(5), b"hello")
        bound, boundPort = connection.get_proxy_sockname()
        self.assertIn(bound, (b"127.0.0.1", "127.0.0.1", "::1", b"::1"))
        self.assertNotIn(boundPort, (0, port))
        connection.close()

    def test_addressesAndNames(self) -> None:
        """
        IPv4, IPv6, names resolved there and here.
        """
        proxy = self.startProxy()
        self.exchange(proxy, "127.0.0.1", self.echo())
        self.exchange(proxy, "localhost", self.echo(), rdns=True)
        self.exchange(proxy, "localhost", self.echo(), rdns=False)
        self.exchange(proxy, "::1", self.echo("::1"))
        self.assertClean(proxy)

    def test_login(self) -> None:
        """
        A good password is let in, a bad one is an authentication error.
        """
        proxy = self.startProxy("--port", "0", "--auth", "memory:ann:s3cret")
        self.exchange(
            proxy, "127.0.0.1", self.echo(), username="ann", password="s3cret"
        )
        with self.assertRaises(socks.ProxyError) as caught:
            self.exchange(proxy, "127.0.0.1", 9, username="ann", password="x")
        self.assertIn("authentication failed", str(caught.exception))
        self.assertClean(proxy)

    def test_refused(self) -> None:
        """
        Its error has the words for code 05.
        """
        listening = self.listener()
        port = listening.getsockname()[1]
        listening.close()
        proxy = self.startProxy()
        with self.assertRaises(socks.ProxyError) as caught:
            self.exchange(proxy, "127.0.0.1", port)
        self.assertIn("0x05", str(caught.exception))
        self.assertClean(proxy)


@skipIf(not hasPythonSocks, "python-socks is not installed: pip install python-socks")
class PythonSocksTests(InteropTestCase):
    """
    python-socks.
    """

    def exchange(self, url: str, host: str, port: int, rdns: bool = True) -> None:
        """
        Connect, and send something there and back.
        """
        proxy = python_socks.sync.Proxy.from_url(url, rdns=rdns)
        connection = proxy.connect(dest_host=host, dest_port=port, timeout=PATIENCE)
        self.addCleanup(connection.close)
        connection.sendall(b"hello")
        self.assertEqual(connection.recv(5), b"hello")
        connection.close()

    def test_addressesAndNames(self) -> None:
        """
        IPv4, IPv6, names resolved there and here.
        """
        proxy = self.startProxy()
        url = f"socks5://127.0.0.1:{proxy.port}"
        self.exchange(url, "127.0.0.1", self.echo())
        self.exchange(url, "localhost", self.echo())
        self.exchange(url, "::1", self.echo("::1"), rdns=False)
        self.exchange(url, "::1", self.echo("::1"))
        self.assertClean(proxy)

    def test_login(self) -> None:
        """
        A good password is let in, a bad one is an error of the proxy.
        """
        proxy = self.startProxy("--port", "0", "--auth", "memory:ann:s3cret")
        there = f"127.0.0.1:{proxy.port}"
        self.exchange(f"socks5://ann:s3cret@{there}", "127.0.0.1", self.echo())
        for user in ("ann:x@", ""):
            with self.assertRaises(python_socks.ProxyError):
                self.exchange(f"socks5://{user}{there}", "127.0.0.1", 9)
        self.assertClean(proxy)

    def test_refused(self) -> None:
        """
        Its error has the code 05.
        """
        listening = self.listener()
        port = listening.getsockname()[1]
        listening.close()
        proxy = self.startProxy()
        with self.assertRaises(python_socks.ProxyError) as caught:
            self.exchange(f"socks5://127.0.0.1:{proxy.port}", "127.0.0.1", port)
        self.assertEqual(caught.exception.error_code, 5)
        self.assertClean(proxy)

    def test_asyncio(self) -> None:
        """
        Its client for asyncio.
        """
        server, port = self.startProxy(), self.echo()

        async def exchange() -> bytes:
            proxy = python_socks.async_.asyncio.Proxy.from_url(
                f"socks5://127.0.0.1:{server.port}"
            )
            connection = await proxy.connect(dest_host="127.0.0.1", dest_port=port)
            reader, writer = await asyncio.open_connection(sock=connection)
            writer.write(b"hello")
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

        self.assertEqual(asyncio.run(exchange()), b"hello")
        self.assertClean(server)
