"""
Tests for L{socksproxy.options.tls}, and for all that a listener with TLS does, with
real clients.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import threading
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from unittest import skipIf, skipUnless

from socksproxy.test.processes import (
    PATIENCE,
    Client,
    ProcessTestCase,
    Proxy,
    needs,
    script,
)
from socksproxy.test.test_auth_certificate import noTLS

if not noTLS:
    from socksproxy.test.authority import Authority


@skipIf(noTLS, noTLS)
class TLSTestCase(ProcessTestCase):
    """
    An authority, a server's files, and proxies of which it is the server.
    """

    def setUp(self) -> None:
        self.authority = Authority(self.directory())
        self.server = self.authority.server()
        self.listen = f"tls:0:interface=127.0.0.1:privateKey={self.server}"
        self.clientCA = ("--client-ca", self.authority.path)

    def connected(self, proxy: Proxy, number: int = 0) -> socket.socket:
        """
        A connection without TLS so far.
        """
        plain = socket.create_connection(("127.0.0.1", proxy.ports[number]), PATIENCE)
        self.addCleanup(plain.close)
        return plain

    def secured(self, proxy: Proxy, context: ssl.SSLContext, number: int = 0) -> Client:
        """
        A connection with TLS.
        """
        return self.client(
            Client(
                context.wrap_socket(
                    self.connected(proxy, number), server_hostname="127.0.0.1"
                )
            )
        )

    def shown(self, proxy: Proxy) -> str:
        """
        The name in the certificate that a new client sees.
        """
        secured: Any = self.secured(proxy, self.authority.context()).socket
        (((_, name),),) = secured.getpeercert()["subject"]
        return str(name)

    def assertServes(self, client: Client) -> None:
        """
        Bytes get to a target and back.
        """
        self.assertEqual(client.greet(), b"\x05\x00")
        self.assertReaches(client)

    def assertReaches(self, client: Client) -> None:
        """
        So they do for a client that is greeted already.
        """
        target = self.listener()
        code, _ = client.request("127.0.0.1", target.getsockname()[1])
        self.assertEqual(code, 0)
        server = self.accept(target)
        client.socket.sendall(b"ping")
        self.assertEqual(server.receive(4), b"ping")
        server.socket.sendall(b"pong")
        self.assertEqual(client.receive(4), b"pong")
        # The end of TLS, both ways: without it this would be a reset.
        secured: Any = client.socket
        secured.unwrap()
        self.assertEqual(server.receive(1), b"")

    def assertRefused(
        self, proxy: Proxy, context: ssl.SSLContext, alert: str, line: str
    ) -> None:
        """
        A client gets an alert, and there is one line of the log about it.
        """
        before = proxy.log.count("refused: ")
        # In TLS 1.3 it believes at first that all is well.
        wrong = self.assertRaises(
            ssl.SSLError, lambda: self.secured(proxy, context).socket.recv(1)
        )
        self.assertIn(alert, str(wrong))
        self.until(lambda: proxy.log.count("refused: ") > before, "nothing is logged")
        (*_, last) = re.findall(r"refused: (.*)", proxy.log)
        self.assertEqual(last, line)
        self.assertEqual(proxy.log.count("refused: "), before + 1)


class ListeningTests(TLSTestCase):
    """
    TLS, without certificates of clients.
    """

    def test_serves(self) -> None:
        """
        SOCKS within TLS, by both names that it has.
        """
        proxy = self.startProxy(
            *("--listen", self.listen, "--listen", self.listen.replace("tls", "ssl")),
            listeners=2,
        )
        for number in range(2):
            client = self.secured(proxy, self.authority.context(), number)
            self.assertServes(client)
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    def test_chain(self) -> None:
        """
        Clients that know the root only are shown what is between.
        """
        between = Authority(self.directory(), "between", self.authority)
        server = between.server()
        with open(server, "ab") as file:
            file.write(Path(between.path).read_bytes())
        proxy = self.startProxy(
            "--listen", f"tls:0:interface=127.0.0.1:privateKey={server}"
        )
        self.assertServes(self.secured(proxy, self.authority.context()))

    def test_minimum(self) -> None:
        """
        TLS 1.2 is the least, by both names.
        """
        proxy = self.startProxy(
            *("--listen", self.listen, "--listen", self.listen.replace("tls", "ssl")),
            listeners=2,
        )
        for number in range(2):
            for version, agreed in (
                (ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
                (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
                (ssl.TLSVersion.TLSv1_1, None),
                (ssl.TLSVersion.TLSv1, None),
            ):
                context = self.authority.context()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)
                    context.minimum_version = context.maximum_version = version
                if agreed is None:
                    context.set_ciphers("ALL:@SECLEVEL=0")
                    wrong = self.assertRaises(
                        ssl.SSLError, self.secured, proxy, context, number
                    )
                    self.assertIn("ALERT_PROTOCOL_VERSION", str(wrong))
                else:
                    secured: Any = self.secured(proxy, context, number).socket
                    self.assertEqual(secured.version(), agreed)
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    @needs("openssl")
    def test_renegotiation(self) -> None:
        """
        A client cannot have the handshake done over and over again.
        """
        proxy = self.startProxy("--listen", self.listen)
        # It renegotiates at a line that is an R.
        asked = self.run_(
            *("openssl", "s_client", "-tls1_2", "-connect"),
            *(f"127.0.0.1:{proxy.port}", "-CAfile", self.authority.path),
            stdin=b"R\n",
        )
        self.assertIn("RENEGOTIATING", asked.output + asked.errors)
        self.assertIn("no renegotiation", asked.output + asked.errors)

    def test_silent(self) -> None:
        """
        Who does not finish the handshake of TLS is closed when the time for all
        of the handshake is over; a SOCKS client without TLS too, which waits for
        an answer.
        """
        proxy = self.startProxy("--listen", self.listen, "--handshake-timeout", "0.5")
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
        for number, data in enumerate((b"", hello, b"\x05\x01\x00"), 1):
            client = Client(self.connected(proxy))
            client.socket.sendall(data)
            try:
                self.assertEqual(client.receive(1), b"")
            except ConnectionResetError:
                pass
            self.until(
                lambda: proxy.log.count("refused: ") >= number,  # noqa: B023
                "nothing is logged",
            )
        refused = re.findall(r"refused: (.*)", proxy.log)
        self.assertEqual(refused, ["the handshake took too long"] * 3)
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    def test_plain(self) -> None:
        """
        Who speaks anything else than TLS costs one line.
        """
        proxy = self.startProxy("--listen", self.listen)
        for number, (data, words) in enumerate(
            (
                (b"GET / HTTP/1.0\r\n\r\n", "TLS failed: http request"),
                (b"\x05\x02\x00\x02" * 9, "TLS failed: "),
                (bytes(range(256)) * 100, "TLS failed: "),
                (b"\x05\x01\x00", "the client left during the handshake"),
                (b"", "the client left during the handshake"),
            ),
            1,
        ):
            client = Client(self.connected(proxy))
            client.socket.sendall(data)
            if "left" in words:
                client.socket.close()
            else:
                try:
                    while client.receive(100):
                        pass
                except ConnectionResetError:
                    pass
            self.until(
                lambda: proxy.log.count("refused: ") >= number,  # noqa: B023
                "nothing is logged",
            )
            refused = re.findall(r"refused: (.*)", proxy.log)
            self.assertEqual(len(refused), number)
            self.assertIn(words, refused[-1])
        self.assertServes(self.secured(proxy, self.authority.context()))
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    def test_expired(self) -> None:
        """
        That the certificate has expired is said at the start.
        """
        expired = self.authority.server("old", (-9, -2))
        proxy = self.startProxy(
            "--listen", f"tls:0:interface=127.0.0.1:privateKey={expired}"
        )
        self.assertEqual(proxy.log.count("CN=old has expired"), 1)

    def test_SIGHUP(self) -> None:
        """
        Certificates are read again: new clients see the new one, those that are
        there go on.  What cannot be used is logged, and changes nothing.
        """
        proxy = self.startProxy("--listen", self.listen)
        before = self.secured(proxy, self.authority.context())
        self.assertEqual(self.shown(proxy), "server")
        shutil.copy(self.authority.server("renewed"), self.server)
        self.assertEqual(self.shown(proxy), "server")
        proxy.process.send_signal(signal.SIGHUP)
        self.until(lambda: "were read again" in proxy.log, "nothing was read again")
        self.assertEqual(self.shown(proxy), "renewed")
        Path(self.server).write_bytes(b"half a fi")
        proxy.process.send_signal(signal.SIGHUP)
        self.until(lambda: "TLS goes on" in proxy.log, "nothing was complained of")
        self.assertIn(f"{self.server}: there is no certificate", proxy.log)
        self.assertEqual(self.shown(proxy), "renewed")
        os.remove(self.server)
        proxy.process.send_signal(signal.SIGHUP)
        self.until(
            lambda: f"{self.server}: No such file" in proxy.log,
            "nothing was complained of",
        )
        self.assertEqual(self.shown(proxy), "renewed")
        self.assertServes(before)
        self.assertStops(proxy)
        self.assertQuiet(proxy)


class ClientCertificateTests(TLSTestCase):
    """
    C{--client-ca}.
    """

    def test_identity(self) -> None:
        """
        A client with a certificate needs no login, and has its name; a listener
        like this may be where everybody can reach it.
        """
        proxy = self.startProxy(
            "--listen", f"tls:0:privateKey={self.server}", *self.clientCA
        )
        for name in ("alice", "bob"):
            context = self.authority.context(self.authority.client(name))
            self.assertServes(self.secured(proxy, context))
            self.until(lambda: f" {name} CONNECT " in proxy.log, name)  # noqa: B023
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    def test_resumed(self) -> None:
        """
        Nobody gets in by a session that was there before.
        """
        proxy = self.startProxy("--listen", self.listen, *self.clientCA)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.authority.context(self.authority.client("alice"))
            context.maximum_version = version
            first: Any = self.secured(proxy, context)
            self.assertServes(first)
            again: Any = context.wrap_socket(
                self.connected(proxy),
                server_hostname="127.0.0.1",
                session=first.socket.session,
            )
            self.assertFalse(again.session_reused)
            self.assertServes(self.client(Client(again)))

    def test_none(self) -> None:
        """
        A client without a certificate gets an alert that says so, and costs one
        line.
        """
        proxy = self.startProxy("--listen", self.listen, *self.clientCA)
        line = "TLS failed: peer did not return a certificate"
        context = self.authority.context()
        self.assertRefused(proxy, context, "CERTIFICATE_REQUIRED", line)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.assertRefused(proxy, context, "HANDSHAKE_FAILURE", line)
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    def test_strangers(self) -> None:
        """
        So does one with a certificate of somebody else, an old one, or one that
        is for servers.
        """
        proxy = self.startProxy("--listen", self.listen, *self.clientCA)
        stranger = Authority(self.directory(), "authority").client("alice")
        for client in (
            stranger,
            self.authority.client("old", (-9, -2)),
            self.authority.client("early", (2, 9)),
            self.server,
        ):
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = self.authority.context(client)
                context.maximum_version = version
                self.assertRefused(
                    proxy, context, "ALERT", "TLS failed: certificate verify failed"
                )
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    def test_nobody(self) -> None:
        """
        A valid certificate that names nobody does not let anybody in.
        """
        client = self.authority.client("")
        proxy = self.startProxy("--listen", self.listen, *self.clientCA)
        secured = self.secured(proxy, self.authority.context(client))
        self.assertEqual(secured.greet(), b"\x05\xff")

    def test_login(self) -> None:
        """
        With C{--auth} there has to be a login too, and its name is what counts.
        """
        proxy = self.startProxy(
            *("--listen", self.listen, *self.clientCA, "--auth", "memory:bob:s3cret")
        )
        context = self.authority.context(self.authority.client("alice"))
        self.assertEqual(self.secured(proxy, context).greet(), b"\x05\xff")
        client = self.secured(proxy, context)
        self.assertEqual(client.greet(b"\x00\x02"), b"\x05\x02")
        client.socket.sendall(b"\x01\x03bob\x06s3cret")
        self.assertEqual(client.receive(2), b"\x01\x00")
        self.assertReaches(client)
        self.until(lambda: " bob CONNECT " in proxy.log, "it is not bob")
        self.assertNotIn(" alice ", proxy.log)
        self.assertRefused(
            proxy,
            self.authority.context(),
            "CERTIFICATE_REQUIRED",
            "TLS failed: peer did not return a certificate",
        )

    def test_plainBeside(self) -> None:
        """
        Where no certificates are asked for there is no way in without a login,
        not even on loopback; a listener can have an authority of its own.
        """
        proxy = self.startProxy(
            *("--listen", "tcp:0:interface=127.0.0.1", "--listen", self.listen),
            *("--listen", f"{self.listen}:clientCA={self.authority.path}"),
            listeners=3,
        )
        self.assertEqual(self.client(proxy.client()).greet(), b"\x05\xff")
        context = self.authority.context(self.authority.client("alice"))
        self.assertEqual(self.secured(proxy, context, 1).greet(), b"\x05\xff")
        self.assertServes(self.secured(proxy, context, 2))

    def test_SIGHUP(self) -> None:
        """
        The authority is read again too.
        """
        proxy = self.startProxy("--listen", self.listen, *self.clientCA)
        other = Authority(self.directory(), "other")
        client = self.authority.context(other.client("alice"))
        self.assertRefused(
            proxy, client, "UNKNOWN_CA", "TLS failed: certificate verify failed"
        )
        # Those who know the old authority go on to trust the server.
        shutil.copy(other.path, self.authority.path)
        proxy.process.send_signal(signal.SIGHUP)
        self.until(lambda: "were read again" in proxy.log, "nothing was read again")
        self.assertServes(self.secured(proxy, client))

    @needs("socat", "curl")
    def test_curl(self) -> None:
        """
        A client that knows no TLS for SOCKS, through C{socat} that does.
        """

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"z" * 3_000_000)

            def log_message(self, *_: Any) -> None:
                pass

        origin = HTTPServer(("127.0.0.1", 0), Answer)
        self.addCleanup(origin.server_close)
        thread = threading.Thread(target=origin.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(origin.shutdown)
        proxy = self.startProxy("--listen", self.listen, *self.clientCA)
        client = self.authority.client("alice")
        socat = self.startProcess(
            (
                *("socat", "-d", "-d", "TCP-LISTEN:0,bind=127.0.0.1"),
                f"OPENSSL:127.0.0.1:{proxy.port},cert={client},"
                f"cafile={self.authority.path}",
            )
        )
        listens = re.compile(r"listening on AF=2 127\.0\.0\.1:(\d+)")
        self.until(lambda: listens.search(socat.errors), "socat does not listen")
        (port,) = listens.findall(socat.errors)
        done = self.run_(
            *("curl", "-sS", "--socks5-hostname", f"127.0.0.1:{port}"),
            f"http://localhost:{origin.server_port}/",
        )
        self.assertEqual(done.status, 0, repr(done))
        self.assertEqual(done.data, b"z" * 3_000_000)
        self.until(lambda: ": closed, " in proxy.log, "the session is not over")
        self.assertIn(" alice CONNECT localhost:", proxy.log)
        self.assertStops(proxy)
        self.assertQuiet(proxy)


@skipUnless(os.name == "posix", "workers are for POSIX systems")
class WorkersTests(TLSTestCase):
    """
    With C{--workers} it is all the same.
    """

    def test_workers(self) -> None:
        """
        Every worker asks for certificates, and reads the files again.
        """
        proxy = self.startProxy(
            *("--listen", self.listen, *self.clientCA, "--workers", "2")
        )
        self.until(
            lambda: len(re.findall(r"Worker \d listens", proxy.log)) == 2,
            "the workers do not listen",
        )
        alice = self.authority.context(self.authority.client("alice"))

        def areBothSeen() -> bool:
            self.assertServes(self.secured(proxy, alice))
            seen = re.findall(r"\[worker (\d) .* alice CONNECT ", proxy.log)
            return set(seen) == {"1", "2"}

        self.until(areBothSeen, "one of the workers has nothing to do")
        self.assertRefused(
            proxy,
            self.authority.context(),
            "CERTIFICATE_REQUIRED",
            "TLS failed: peer did not return a certificate",
        )
        shutil.copy(self.authority.server("renewed"), self.server)
        proxy.process.send_signal(signal.SIGHUP)
        self.until(
            lambda: proxy.log.count("were read again") == 2,
            "not both workers have read it again",
        )
        for _ in range(8):
            secured: Any = self.secured(proxy, alice).socket
            self.assertIn("renewed", str(secured.getpeercert()["subject"]))
        self.assertStops(proxy)
        self.assertQuiet(proxy)


class CommandLineTests(TLSTestCase):
    """
    What is wrong is said in one line.
    """

    def assertOneLine(self, options: tuple[str, ...], *words: str) -> None:
        """
        It does not start, and says why.
        """
        done = self.run_(script("twistd"), "-n", "--pidfile=", "socks5", *options)
        self.assertNotEqual(done.status, 0)
        said = [line for line in done.errors.splitlines() if line]
        self.assertEqual(len(said), 1, repr(done))
        for word in words:
            self.assertIn(word, said[0])

    def test_noListener(self) -> None:
        """
        C{--client-ca} without anybody who could ask for certificates.
        """
        self.assertOneLine(
            (*self.clientCA, "--listen", "tcp:0"), "--client-ca", "--listen tls:"
        )

    def test_files(self) -> None:
        """
        A key that is missing, or not the certificate's; a file without an
        authority; none at all.
        """
        client = self.authority.client("alice")
        for listen, words in (
            ("tls:0:privateKey=/no/key", ("/no/key", "No such file")),
            (f"{self.listen}:certKey={client}", (self.server, client)),
        ):
            self.assertOneLine(("--listen", listen), *words)
        for clientCA in ("/no/authority", ""):
            self.assertOneLine(("--listen", self.listen, "--client-ca", clientCA))

    def test_openWithoutAuthority(self) -> None:
        """
        TLS alone does not tell friend from foe: nothing is served where everybody
        can reach it.
        """
        listen = self.listen.replace("127.0.0.1", "0.0.0.0")
        done = self.run_(
            script("twistd"), "-n", "--pidfile=", "socks5", "--listen", listen
        )
        self.assertNotEqual(done.status, 0)
        self.assertIn("will not listen on 0.0.0.0 without a login", done.output)
