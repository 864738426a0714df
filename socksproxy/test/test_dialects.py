"""
Other people's clients of SOCKS4 and HTTP, each against a real C{twistd} process.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import tempfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from unittest import skipIf

from socksproxy.test import test_integration
from socksproxy.test.processes import PATIENCE, Client, Finished, Proxy, needs
from socksproxy.test.test_interop import CHUNK, InteropTestCase, _OriginServer

try:
    import websockets
    from websockets.sync.client import connect as connectWebSocket
    from websockets.sync.server import serve as serveWebSockets
except ImportError:
    websockets = None  # type: ignore[assignment]

LOGIN = ("--port", "0", "--auth", "memory:ann:s3cret")

PAGE = b"""<!DOCTYPE html><title>page</title><body><p id=p>loading</p><script>
const socket = new WebSocket("ws://localhost:%d/");
socket.onopen = () => socket.send("hello");
socket.onmessage = event =>
    fetch("/", {method: "POST", body: event.data.repeat(1000)});
</script><script src="/uploaded"></script></body>"""
"""
A page that says hello over a WebSocket and sends on what it hears.  It is not loaded
before that has come.
"""


JAVA = """
import java.net.*;

public class Fetch {
    public static void main(String[] arguments) throws Exception {
        for (int i = 0; i < arguments.length; i += 3) {
            Proxy.Type type = Proxy.Type.valueOf(arguments[i]);
            int port = Integer.parseInt(arguments[i + 1]);
            Proxy proxy = new Proxy(type, new InetSocketAddress("127.0.0.1", port));
            URLConnection connection = new URL(arguments[i + 2]).openConnection(proxy);
            System.out.write(connection.getInputStream().readAllBytes());
        }
        System.out.flush();
    }
}
"""


class _Site(BaseHTTPRequestHandler):
    """
    C{GET /N} gives N bytes, C{/chunked/N} the same in chunks, C{/page/PORT} a page
    for a browser, C{/uploaded} a script once it has sent something, C{/repo.git} a
    repository; C{PUT} and C{POST} give the SHA-256 of what was sent.
    """

    protocol_version = "HTTP/1.1"
    server: _SiteServer

    def setup(self) -> None:
        """
        Count the connection.
        """
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        """
        A download.
        """
        if self.path.startswith("/repo.git"):
            self._git(b"")
            return
        kind, _, number = self.path.strip("/").rpartition("/")
        if kind == "page":
            self._answer(PAGE % int(number), "text/html")
        elif kind == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            left = int(number)
            while left:
                sent = min(left, 10000)
                self.wfile.write(b"%x\r\n%b\r\n" % (sent, CHUNK[:sent]))
                left -= sent
            self.wfile.write(b"0\r\n\r\n")
        elif number == "uploaded":
            self.server.hasUpload.wait(PATIENCE)
            digest = self.server.digest.encode()
            script = b'document.getElementById("p").textContent = "got %b"' % digest
            self._answer(script, "text/javascript")
        elif number == "favicon.ico":
            self._answer(b"")
        else:
            self._answer(b"x" * int(number.partition("?")[0]))

    def do_POST(self) -> None:
        """
        An upload.
        """
        body = self._body()
        if self.path.startswith("/repo.git"):
            self._git(body)
        else:
            self.server.digest = hashlib.sha256(body).hexdigest()
            self.server.hasUpload.set()
            self._answer(self.server.digest.encode())

    do_PUT = do_POST

    def _body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        body = []
        while length := int(self.rfile.readline(), 16):
            body.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(body)

    def _answer(self, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Via", self.headers["Via"] or "nobody")
        self.end_headers()
        self.wfile.write(body)

    def _git(self, body: bytes) -> None:
        """
        Git's own CGI program.
        """
        path, _, query = self.path.partition("?")
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            timeout=PATIENCE,
            check=True,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": self.server.directory,
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REMOTE_USER": "ann",
                "REMOTE_ADDR": "127.0.0.1",
                "CONTENT_TYPE": self.headers["Content-Type"] or "",
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers["Content-Encoding"] or "",
            },
        )
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        fields = dict(re.findall(r"([^:\n]+): ([^\r\n]*)", head.decode()))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """
        Say nothing.
        """


class _SiteServer(_OriginServer):
    """
    @ivar connections: how many there were.
    @ivar directory: where repositories are.
    @ivar digest: the SHA-256 of what was sent last, as text.
    @ivar hasUpload: whether anything was.
    """

    connections = 0
    directory = ""
    digest = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Site)
        self.hasUpload = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """
        A client may leave.
        """


class DialectTestCase(InteropTestCase):
    """
    What the clients have in common.
    """

    def site(self) -> _SiteServer:
        """
        Start an HTTP server.
        """
        server = _SiteServer()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self.addCleanup(stop)
        return server

    def exchanged(self, *command: str) -> bytes:
        """
        What a client that relays its standard input to an echo gives back.
        """
        finished = self.run_(*command, stdin=b"hello\n")
        self.assertEqual(finished.data, b"hello\n", repr(finished))
        return finished.data


@needs("curl")
class CurlTests(DialectTestCase):
    """
    curl.
    """

    def curl(self, *arguments: str) -> Finished:
        return self.run_("curl", "-sS", "--noproxy", "", *arguments)

    def isLogged(self, proxy: Proxy, line: str) -> bool:
        return line in proxy.log

    def fetched(self, *arguments: str) -> str:
        """
        What it wrote.
        """
        finished = self.curl(*arguments)
        self.assertEqual(finished.status, 0, repr(finished))
        return finished.output

    def test_schemes(self) -> None:
        """
        All proxy protocols that it speaks, on one port.
        """
        port, proxy = self.site().server_port, self.startProxy()
        for scheme in ("socks4", "socks4a", "socks5", "socks5h", "http"):
            for options in ((), ("--proxytunnel",)):
                body = self.fetched(
                    *("-x", f"{scheme}://127.0.0.1:{proxy.port}", *options),
                    f"http://localhost:{port}/10",
                )
                self.assertEqual(body, "x" * 10)
        self.assertClean(proxy)

    def test_socks4aResolvesThere(self) -> None:
        """
        socks4a has names, socks4 addresses.
        """
        port, proxy = self.site().server_port, self.startProxy()
        for scheme, host in (("socks4", "127.0.0.1"), ("socks4a", "localhost")):
            self.fetched(
                *("-x", f"{scheme}://127.0.0.1:{proxy.port}"),
                f"http://localhost:{port}/10",
            )
            line = f"CONNECT {host}:{port} via"
            self.until(partial(self.isLogged, proxy, line), "no log line")
        self.assertClean(proxy)

    def test_preproxy(self) -> None:
        """
        Through two proxies: by SOCKS to one of HTTP.
        """
        port = self.site().server_port
        first, last = self.startProxy(), self.startProxy()
        for scheme in ("socks4", "socks4a", "socks5", "socks5h"):
            for options in ((), ("--proxytunnel",)):
                body = self.fetched(
                    *("--preproxy", f"{scheme}://127.0.0.1:{first.port}"),
                    *("-x", f"http://127.0.0.1:{last.port}", *options),
                    f"http://localhost:{port}/10",
                )
                self.assertEqual(body, "x" * 10)
        self.assertClean(first)
        self.assertClean(last)
        # One line when it begins, one when it is over.
        self.assertEqual(first.log.count(f"CONNECT 127.0.0.1:{last.port}"), 16)
        self.assertEqual(last.log.count(f"CONNECT localhost:{port}"), 16)

    def test_refused(self) -> None:
        """
        A target that refuses.
        """
        proxy = self.startProxy()
        with socket.create_server(("127.0.0.1", 0)) as gone:
            url = f"http://127.0.0.1:{gone.getsockname()[1]}/"
        for scheme, status in (("socks4", 97), ("socks4a", 97)):
            finished = self.curl("-x", f"{scheme}://127.0.0.1:{proxy.port}", url)
            self.assertEqual(finished.status, status, repr(finished))
        code = ("-w", "%{http_code} %{http_connect}", "-o", "/dev/null")
        http = f"http://127.0.0.1:{proxy.port}"
        self.assertEqual(self.fetched("-x", http, *code, url), "502 000")
        finished = self.curl("-x", http, "-p", *code, url)
        self.assertEqual(finished.output, "000 502", repr(finished))
        self.assertClean(proxy)

    def test_login(self) -> None:
        """
        C{-U} logs in over HTTP, at once or when it is asked; nobody else gets in,
        and over SOCKS4 nobody does.
        """
        port, proxy = self.site().server_port, self.startProxy(*LOGIN)
        http, url = f"http://127.0.0.1:{proxy.port}", f"http://127.0.0.1:{port}/10"
        for options in ((), ("-p",), ("--proxy-anyauth",), ("--proxy-anyauth", "-p")):
            right = ("-x", http, *options, "-U", "ann:s3cret")
            self.assertEqual(self.fetched(*right, url), "x" * 10)
        code = ("-w", "%{http_code} %{http_connect}", "-o", "/dev/null")
        for user in ((), ("-U", "ann:wrong")):
            self.assertEqual(self.fetched("-x", http, *code, *user, url), "407 000")
            finished = self.curl("-x", http, "-p", *code, *user, url)
            self.assertEqual(finished.output, "000 407")
        for scheme in ("socks4", "socks4a"):
            finished = self.curl(
                "-x", f"{scheme}://ann:s3cret@127.0.0.1:{proxy.port}", url
            )
            self.assertEqual(finished.status, 97, repr(finished))
        self.assertIn(f" ann CONNECT 127.0.0.1:{port} via", proxy.log)
        self.assertNotIn("s3cret", proxy.log)
        self.assertClean(proxy)

    def test_challengedUpload(self) -> None:
        """
        An upload whose login is asked for first.
        """
        port, proxy = self.site().server_port, self.startProxy(*LOGIN)
        path = Path(self.directory()) / "upload"
        path.write_bytes(CHUNK * 20)
        digest = self.fetched(
            *("-x", f"http://127.0.0.1:{proxy.port}", "-U", "ann:s3cret"),
            *("--proxy-anyauth", "-T", str(path), f"http://127.0.0.1:{port}/"),
        )
        self.assertEqual(digest, hashlib.sha256(CHUNK * 20).hexdigest())
        self.assertClean(proxy)

    def test_keepAlive(self) -> None:
        """
        Several URLs take one connection to the proxy and one to the target.
        """
        site, proxy = self.site(), self.startProxy()
        output = self.fetched(
            *("-x", f"http://127.0.0.1:{proxy.port}", "-w", " %{num_connects}\\n"),
            f"http://127.0.0.1:{site.server_port}/[1-5]",
        )
        expected = [f"{'x' * n} {int(n == 1)}" for n in range(1, 6)]
        self.assertEqual(output.splitlines(), expected)
        self.assertEqual(site.connections, 1)
        self.assertClean(proxy)

    def test_twoTargets(self) -> None:
        """
        Two targets by turns over one connection to the proxy.
        """
        sites, proxy = [self.site(), self.site()], self.startProxy()
        one, other = (f"http://127.0.0.1:{site.server_port}/3" for site in sites)
        output = self.fetched(
            *("-x", f"http://127.0.0.1:{proxy.port}", "-w", " %{num_connects}\\n"),
            *(one, other, one, other),
        )
        self.assertEqual(output.split(), ["xxx", "1", *("xxx", "0") * 3])
        self.assertEqual([site.connections for site in sites], [2, 2])
        self.assertClean(proxy)

    def test_uploads(self) -> None:
        """
        With a length, in chunks, and after C{100 Continue}.
        """
        port, proxy = self.site().server_port, self.startProxy()
        path = Path(self.directory()) / "upload"
        path.write_bytes(CHUNK * 160)
        url = f"http://127.0.0.1:{port}/"
        for options in (
            ("-H", "Expect:"),
            ("-H", "Expect: 100-continue"),
            ("-H", "Transfer-Encoding: chunked"),
            ("-H", "Transfer-Encoding: chunked", "-H", "Expect:"),
            ("--http1.0",),
        ):
            digest = self.fetched(
                *("-x", f"http://127.0.0.1:{proxy.port}", *options),
                *("--expect100-timeout", "50", "-T", str(path), url),
            )
            self.assertEqual(digest, hashlib.sha256(CHUNK * 160).hexdigest())
        self.assertClean(proxy)

    def test_chunkedDownload(self) -> None:
        """
        A body of unknown length arrives whole, also with HTTP/1.0.
        """
        port, proxy = self.site().server_port, self.startProxy()
        expected = b"".join(CHUNK[:n] for n in (10000,) * 500)
        path = Path(self.directory()) / "download"
        for version in ("--http1.1", "--http1.0"):
            self.fetched(
                *("-x", f"http://127.0.0.1:{proxy.port}", version, "-o", str(path)),
                f"http://127.0.0.1:{port}/chunked/5000000",
            )
            self.assertEqual(path.read_bytes(), expected)
        self.assertClean(proxy)

    def test_manyAtOnce(self) -> None:
        """
        200 transfers in parallel are all whole, whatever they speak.
        """
        port, proxy = self.site().server_port, self.startProxy()
        for scheme in ("socks4a", "http"):
            statistics = self.fetched(
                *("--parallel", "--parallel-immediate", "--parallel-max", "200"),
                *("-x", f"{scheme}://127.0.0.1:{proxy.port}"),
                *("-w", "%{http_code} %{size_download}\\n"),
                *("-o", "#1", f"http://127.0.0.1:{port}/100000?[1-200]"),
            )
            self.assertEqual(statistics.splitlines(), ["200 100000"] * 200)
        self.until(
            lambda: proxy.log.count(" received in ") == 400, "a session does not end"
        )
        self.until(lambda: proxy.descriptors < 30, "a descriptor is left")
        self.assertClean(proxy)

    def test_via(self) -> None:
        """
        The target learns of the proxy, and of nobody else; a browser that was
        pointed here learns what this is.
        """
        port, proxy = self.site().server_port, self.startProxy()
        head = self.fetched(
            *("-x", f"http://127.0.0.1:{proxy.port}", "-D", "-", "-o", "/dev/null"),
            f"http://127.0.0.1:{port}/1",
        )
        self.assertIn("X-Via: 1.1 socksproxy", head)
        self.assertIn("Via: 1.1 socksproxy", head.replace("X-Via", ""))
        page = self.fetched(f"http://127.0.0.1:{proxy.port}/")
        self.assertIn("This is a proxy", page)
        self.assertClean(proxy)

    def test_switchedOff(self) -> None:
        """
        C{--protocols} leaves out what is not wanted.
        """
        port = self.site().server_port
        schemes = {"socks4": "socks4", "socks5": "socks5h", "http": "http"}
        for wanted in schemes:
            proxy = self.startProxy("--port", "0", "--protocols", wanted)
            for name, scheme in schemes.items():
                finished = self.curl(
                    *("-x", f"{scheme}://127.0.0.1:{proxy.port}"),
                    f"http://127.0.0.1:{port}/10",
                )
                self.assertEqual(finished.status == 0, name == wanted, repr(finished))
            self.assertClean(proxy)

    @skipIf(find_spec("OpenSSL") is None, "pyOpenSSL is not installed")
    def test_tls(self) -> None:
        """
        A C{https://} proxy: all of it within TLS.
        """
        certificate = test_integration.IntegrationTests.certificate
        path = os.path.abspath(certificate(cast(Any, self))[0])
        listen = f"ssl:0:interface=127.0.0.1:privateKey={path}:certKey={path}"
        port = self.site().server_port
        proxy = self.startProxy("--listen", listen, "--auth", "memory:ann:s3cret")
        upload = Path(self.directory()) / "upload"
        upload.write_bytes(CHUNK * 20)
        digest = hashlib.sha256(CHUNK * 20).hexdigest()
        for options in ((), ("-p",), ("--http1.0",)):
            through = ("-x", f"https://127.0.0.1:{proxy.port}", *options)
            through += ("--proxy-insecure", "-U", "ann:s3cret")
            url = f"http://127.0.0.1:{port}/"
            body = self.fetched(*through, f"{url}3000000", f"{url}chunked/3")
            self.assertEqual(len(body), 3000003)
            self.assertEqual(self.fetched(*through, "-T", str(upload), url), digest)
        self.assertClean(proxy)

    def test_workers(self) -> None:
        """
        Workers speak what they were told to.
        """
        port = self.site().server_port
        options = ("--port", "0", "--workers", "2", "--protocols", "http")
        proxy = self.startProxy(*options)
        for scheme, works in (("http", True), ("socks4", False)):
            finished = self.curl(
                *("-x", f"{scheme}://127.0.0.1:{proxy.port}"),
                f"http://127.0.0.1:{port}/10",
            )
            self.assertEqual(finished.status == 0, works, repr(finished))


class OtherClientTests(DialectTestCase):
    """
    netcats, proxychains and git.
    """

    @needs("nc")
    def test_nc(self) -> None:
        """
        OpenBSD's netcat.
        """
        proxy = self.startProxy()
        for kind in ("4", "connect"):
            self.exchanged(
                *("nc", "-N", "-X", kind, "-x", f"127.0.0.1:{proxy.port}"),
                *("127.0.0.1", str(self.echo())),
            )
        self.assertClean(proxy)

    @needs("ncat")
    def test_ncat(self) -> None:
        """
        Nmap's, with names and a login too.
        """
        proxy = self.startProxy()
        for kind in ("socks4", "http"):
            self.exchanged(
                *("ncat", "--proxy", f"127.0.0.1:{proxy.port}"),
                *("--proxy-type", kind, "127.0.0.1", str(self.echo())),
            )
        self.exchanged(
            *("ncat", "--proxy", f"127.0.0.1:{proxy.port}", "--proxy-type", "socks4"),
            *("--proxy-dns", "remote", "localhost", str(self.echo())),
        )
        self.assertClean(proxy)
        proxy = self.startProxy(*LOGIN)
        self.exchanged(
            *("ncat", "--proxy", f"127.0.0.1:{proxy.port}", "--proxy-type", "http"),
            *("--proxy-auth", "ann:s3cret", "127.0.0.1", str(self.echo())),
        )
        self.assertClean(proxy)

    @needs("proxychains4", "curl")
    def test_proxychains(self) -> None:
        """
        proxychains-ng, one by one and all of them in a chain.
        """
        port, proxy = self.site().server_port, self.startProxy()
        kinds = ("socks4", "socks5", "http")
        for chain in (*((kind,) for kind in kinds), kinds):
            path = Path(self.directory()) / "proxychains.conf"
            lines = [f"{kind} 127.0.0.1 {proxy.port}\n" for kind in chain]
            path.write_text("strict_chain\n[ProxyList]\n" + "".join(lines))
            finished = self.run_(
                *("proxychains4", "-q", "-f", str(path), "curl", "-sS"),
                *("--noproxy", "*", f"http://127.0.0.1:{port}/10"),
            )
            self.assertEqual(finished.output, "x" * 10, repr(finished))
        self.assertClean(proxy)

    @needs("java", "javac")
    def test_java(self) -> None:
        """
        C{java.net.Proxy}: SOCKS5, HTTP, and SOCKS4 over the connection over which it
        was told that SOCKS5 is not spoken.
        """
        port, proxy = self.site().server_port, self.startProxy()
        old = self.startProxy("--port", "0", "--protocols", "socks4")
        path = Path(self.directory()) / "Fetch.java"
        path.write_text(JAVA)
        url = f"http://127.0.0.1:{port}/10"
        finished = self.run_(
            *("java", str(path), "SOCKS", str(proxy.port), url),
            *("HTTP", str(proxy.port), url, "SOCKS", str(old.port), url),
        )
        self.assertEqual(finished.output, "x" * 30, repr(finished))
        self.assertEqual(old.log.count("CONNECT"), 2)
        self.assertClean(proxy)
        self.assertClean(old)

    @needs("git")
    def test_git(self) -> None:
        """
        git clones and pushes through an HTTP proxy, and through SOCKS4.
        """
        site, proxy = self.site(), self.startProxy(*LOGIN)
        site.directory = self.directory()
        work = Path(self.directory())
        url = f"http://127.0.0.1:{site.server_port}/repo.git"
        http = f"http.proxy=http://ann:s3cret@127.0.0.1:{proxy.port}"

        def git(*arguments: str, directory: str | Path = work) -> str:
            finished = self.run_(
                *("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", http),
                *("-c", "http.postBuffer=1000", *arguments),
                cwd=str(directory),
            )
            self.assertEqual(finished.status, 0, repr(finished))
            return finished.output

        git("init", "-q", "--bare", "-b", "main", f"{site.directory}/repo.git")
        git("init", "-q", "-b", "main", "mine")
        (work / "mine" / "file").write_bytes(os.urandom(300000))
        git("add", "file", directory=work / "mine")
        git("commit", "-q", "-m", "one", directory=work / "mine")
        git("push", "-q", url, "main", directory=work / "mine")
        git("clone", "-q", url, "theirs")
        self.assertEqual(
            (work / "theirs" / "file").read_bytes(),
            (work / "mine" / "file").read_bytes(),
        )
        self.assertClean(proxy)


@skipIf(websockets is None, "websockets is not installed: pip install websockets")
class WebSocketTests(DialectTestCase):
    """
    WebSockets.
    """

    def echoes(self) -> int:
        """
        Start a server that sends back each message.

        @return: its port.
        """

        def echo(connection: Any) -> None:
            for message in connection:
                connection.send(message)

        server = serveWebSockets(echo, "127.0.0.1", 0)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        port: int = server.socket.getsockname()[1]
        return port

    def test_websockets(self) -> None:
        """
        The websockets library, which has a tunnel for it.
        """
        port, proxy = self.echoes(), self.startProxy()
        for scheme in ("socks5h", "socks4a", "http"):
            with connectWebSocket(
                f"ws://localhost:{port}/",
                proxy=f"{scheme}://127.0.0.1:{proxy.port}",
                open_timeout=PATIENCE,
            ) as connection:
                for message in ("hello", "x" * 100000):
                    connection.send(message)
                    self.assertEqual(connection.recv(PATIENCE), message)
        self.assertClean(proxy)

    def test_upgrade(self) -> None:
        """
        One that is asked for in a request like others.
        """
        port, proxy = self.echoes(), self.startProxy()
        client = self.client(proxy.client())
        client.socket.sendall(
            b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % (port, port)
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.receive(1)
        self.assertIn(b" 101 ", head)
        self.assertIn(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", head)
        client.socket.sendall(b"\x81\x85\0\0\0\0hello")
        self.assertEqual(client.receive(7), b"\x81\x05hello")
        client.socket.sendall(b"\x88\x82\0\0\0\0\x03\xe8")
        self.assertEqual(client.receive(9), b"\x88\x02\x03\xe8")
        client.socket.close()
        self.until(lambda: ": closed, " in proxy.log, "the tunnel does not end")
        self.assertClean(proxy)

    @needs("chromium")
    def test_chromium(self) -> None:
        """
        A browser gets a page, with a WebSocket and an upload from it, through SOCKS5,
        SOCKS4 and HTTP.
        """
        socketPort, proxy = self.echoes(), self.startProxy()
        digest = hashlib.sha256(b"hello" * 1000).hexdigest()
        for scheme in ("socks5", "socks4", "http"):
            site = self.site()
            finished = self.run_(
                "chromium",
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
                *("--no-first-run", "--disable-background-networking"),
                *("--disable-component-update", "--disable-sync"),
                f"--user-data-dir={tempfile.mkdtemp(dir=self.directory())}",
                f"--proxy-server={scheme}://127.0.0.1:{proxy.port}",
                "--proxy-bypass-list=<-loopback>",
                *(
                    "--dump-dom",
                    f"http://localhost:{site.server_port}/page/{socketPort}",
                ),
                timeout=3 * PATIENCE,
            )
            self.assertIn(f"got {digest}", finished.output, repr(finished))
        self.until(
            lambda: proxy.log.count(f"CONNECT localhost:{socketPort} via") == 4,
            "the WebSocket went another way",
        )
        self.assertQuiet(proxy)


class ProcessTests(DialectTestCase):
    """
    What clients of a few lines show of a real process.
    """

    def test_bind(self) -> None:
        """
        BIND of SOCKS4: two replies, and then they talk.
        """
        proxy = self.startProxy()
        client = self.client(proxy.client())
        client.socket.sendall(b"\x04\x02\x00\x00\x7f\x00\x00\x01ann\x00")
        first = client.receive(8)
        self.assertEqual(first[:2], b"\x00\x5a")
        self.assertEqual(first[4:], socket.inet_aton("127.0.0.1"))
        port = int.from_bytes(first[2:4], "big")
        target = self.client(Client(socket.create_connection(("127.0.0.1", port))))
        own = target.socket.getsockname()[1]
        self.assertEqual(
            client.receive(8), b"\x00\x5a" + own.to_bytes(2, "big") + first[4:]
        )
        target.socket.sendall(b"hello")
        self.assertEqual(client.receive(5), b"hello")
        client.socket.sendall(b"hello")
        self.assertEqual(target.receive(5), b"hello")
        self.assertClean(proxy)

    def test_slowReader(self) -> None:
        """
        A client that does not read holds the target up, and not the proxy's memory.
        """
        site, proxy = self.site(), self.startProxy()
        size = 300_000_000
        before = self.memory(proxy)
        client = self.client(proxy.client())
        client.socket.sendall(
            b"GET http://127.0.0.1:%d/chunked/%d HTTP/1.1\r\nHost: x\r\n\r\n"
            % (site.server_port, size)
        )
        client.receive(1)
        # As long as the target can still send there is something to wait for.
        last = -1.0
        while last != proxy.cpuSeconds:
            last = proxy.cpuSeconds
            self.pause(0.5)
        self.assertLess(self.memory(proxy) - before, 30_000_000)
        client.socket.close()
        self.assertClean(proxy)

    def test_slowTarget(self) -> None:
        """
        So does a target that does not read.
        """
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        proxy = self.startProxy("--port", "0", "--grace", "0")
        before = self.memory(proxy)
        client = self.client(proxy.client())
        client.socket.sendall(
            b"POST http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: 300000000\r\n\r\n" % listening.getsockname()[1]
        )
        client.socket.setblocking(False)
        sent, last = 0, -1
        while last < sent < 300_000_000:
            last = sent
            try:
                while sent < 300_000_000:
                    sent += client.socket.send(CHUNK)
            except BlockingIOError:
                self.pause(0.5)
        self.assertLess(sent, 100_000_000)
        self.assertLess(self.memory(proxy) - before, 30_000_000)
        client.socket.close()
        self.assertClean(proxy)

    def test_stops(self) -> None:
        """
        When the proxy stops, whoever waits for nothing is not waited for, and
        whoever waits for an answer gets it first.
        """
        answering = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(answering.close)
        proxy = self.startProxy("--port", "0", "--grace", str(int(PATIENCE)))
        number = answering.getsockname()[1]
        request = b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % number
        response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
        idle, waiting = self.client(proxy.client()), self.client(proxy.client())
        idle.socket.sendall(request)
        self.client(Client(answering.accept()[0])).socket.sendall(response)
        answer = b""
        while not answer.endswith(b"hello"):
            answer += idle.receive(1)
        waiting.socket.sendall(request)
        target = self.client(Client(answering.accept()[0]))
        proxy.process.terminate()
        self.assertEqual(idle.receive(1), b"")
        idle.socket.close()
        target.socket.sendall(response)
        answer = waiting.receive(1000)
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertTrue(answer.endswith(b"hello"), answer)
        waiting.socket.close()
        self.assertClean(proxy)

    def memory(self, proxy: Proxy) -> int:
        """
        How many bytes it takes.
        """
        status = Path(f"/proc/{proxy.process.pid}/statm").read_text()
        return int(status.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def pause(self, seconds: float) -> None:
        """
        Let others work.
        """
        threading.Event().wait(seconds)

    def test_garbage(self) -> None:
        """
        Whatever comes costs one connection, and no line of traceback.
        """
        proxy = self.startProxy()
        for data in (
            b"G",
            b"GET",
            b"CONNECT ",
            b"CONNECT x HTTP/1.1\r\n\r\n",
            b"GET " + os.urandom(2000) + b"\r\n\r\n",
            b"PUT http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
            b"\x04\x01",
            b"\x04" + os.urandom(600),
            b"\x04\x01\x00\x50\x00\x00\x00\x01" + b"x" * 600,
        ):
            client = self.client(proxy.client())
            client.socket.sendall(data)
            client.socket.shutdown(socket.SHUT_WR)
            client.isReset()
        self.until(lambda: proxy.descriptors < 30, "a descriptor is left")
        self.assertClean(proxy)
