"""
UDP ASSOCIATE as the clients of others do it.
"""

from __future__ import annotations

import os
import shutil
import socket
import textwrap
from typing import Any
from unittest import SkipTest, skipIf

from twisted.names import dns

from socksproxy.test.processes import PATIENCE, Proxy, needs
from socksproxy.test.test_bind import MODULES
from socksproxy.test.test_udp import UDPTestCase

try:
    import socks
except ImportError:
    socks = None


@needs("dnsmasq")
@skipIf(socks is None, "PySocks is not installed: pip install PySocks")
class PySocksTests(UDPTestCase):
    """
    PySocks, which asks a name server.
    """

    def nameServer(self) -> int:
        """
        dnsmasq on loopback, by IPv4 and IPv6.

        @return: its port.
        """
        program = shutil.which("dnsmasq")
        assert program is not None
        for _ in range(10):
            with self.target() as free:
                port = int(free.getsockname()[1])
            server = self.startProcess(
                [
                    *(
                        program,
                        f"--port={port}",
                        "--host-record=four.example,192.0.2.7",
                    ),
                    *("--listen-address=127.0.0.1", "--listen-address=::1"),
                    *("--bind-interfaces", "--no-daemon", "--log-facility=-"),
                    *("--conf-file=/dev/null", "--no-hosts", "--no-resolv"),
                    *("--local=/example/", "--user=", "--group="),
                ]
            )
            self.until(
                lambda server=server: (  # type: ignore[misc]
                    "started" in server.errors or server.process.poll() is not None
                ),
                "dnsmasq does not start",
            )
            if server.process.poll() is None:
                return port
        raise SkipTest(f"dnsmasq does not run: {server.errors}")

    def test_queries(self) -> None:
        """
        Queries reach the server by its IPv4 address, its IPv6 address and its
        name, and its answers come back.
        """
        port = self.nameServer()
        proxy = self.startProxy()
        asking = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(asking.close)
        asking.settimeout(PATIENCE)
        asking.set_proxy(socks.SOCKS5, "127.0.0.1", proxy.port)
        asking.bind(("127.0.0.1", 0))
        for number, host in enumerate(("127.0.0.1", "::1", "localhost")):
            query = dns.Message(number, recDes=1)
            query.addQuery(b"four.example", dns.A)
            asking.sendto(query.toStr(), (host, port))
            data, source = asking.recvfrom(4096)
            answer = dns.Message()
            answer.fromStr(data)
            self.assertEqual(answer.id, number)
            payload: Any = answer.answers[0].payload
            self.assertEqual(payload.dottedQuad(), "192.0.2.7")
            hosts = ("127.0.0.1", "::1") if host == "localhost" else (host,)
            self.assertIn(source[0], hosts)
            self.assertEqual(source[1], port)
        asking.close()
        self.until(lambda: "3 datagrams sent, 3 received, 0 dropped" in proxy.log, "")
        self.assertQuiet(proxy)


class ScriptTests(UDPTestCase):
    """
    Programs in other languages, that send one datagram to each of two targets, to
    the first of them by its name too.
    """

    def assertServed(self, proxy: Proxy, *command: str) -> None:
        """
        What C{command} sends arrives, and what it prints is the answers, with
        where they came from.

        @param command: a program; the ports of a target on 127.0.0.1 and of one
            on ::1 follow.
        """
        targets = [self.target(host) for host in ("127.0.0.1", "::1")]
        ports = [target.getsockname()[1] for target in targets]
        program = self.startProcess([*command, *map(str, ports)])
        for target in (*targets, targets[0]):
            data, source = target.recvfrom(65_535)
            target.sendto(data[::-1], source)
        self.assertEqual(program.process.wait(PATIENCE), 0, program.errors)
        answer = ("0123456789" * 1000)[::-1]
        self.assertEqual(
            program.log.split(),
            [
                *(f"127.0.0.1:{ports[0]}", answer),
                *(f"::1:{ports[1]}", answer),
                *(f"127.0.0.1:{ports[0]}", answer),
            ],
        )
        self.until(
            lambda: "3 datagrams sent, 3 received, 0 dropped" in proxy.log, proxy.log
        )
        self.assertQuiet(proxy)

    @needs("node")
    def test_node(self) -> None:
        """
        The C{socks} package of Node.
        """
        if not os.path.isdir(f"{MODULES}/socks"):
            self.skipTest("node-socks is not installed: apt-get install node-socks")
        proxy = self.startProxy()
        program = """
            const {SocksClient} = require("socks");
            const [relay, port4, port6] = process.argv.slice(1).map(Number);
            const hosts = [["127.0.0.1", port4], ["::1", port6], ["localhost", port4]];
            const udp = require("dgram").createSocket("udp4");
            const client = new SocksClient({
              proxy: {host: "127.0.0.1", port: relay, type: 5},
              command: "associate",
              destination: {host: "0.0.0.0", port: 0},
            });
            client.on("error", (error) => { throw error; });
            client.on("established", (info) => {
              const send = () => {
                const [host, port] = hosts.shift();
                udp.send(SocksClient.createUDPFrame({
                  remoteHost: {host, port},
                  data: Buffer.from("0123456789".repeat(1000)),
                }), info.remoteHost.port, info.remoteHost.host);
              };
              udp.on("message", (message) => {
                const {remoteHost, data} = SocksClient.parseUDPFrame(message);
                console.log(`${remoteHost.host}:${remoteHost.port}`, data.toString());
                if (hosts.length) {
                  send();
                } else {
                  udp.close();
                  info.socket.end();
                }
              });
              send();
            });
            client.connect();
        """
        self.assertServed(
            *(proxy, "env", f"NODE_PATH={MODULES}"),
            *("node", "-e", program, str(proxy.port)),
        )

    @needs("perl")
    def test_perl(self) -> None:
        """
        Perl's C{IO::Socket::Socks}.
        """
        if self.run_("perl", "-MIO::Socket::Socks", "-e1").status:
            self.skipTest(
                "IO::Socket::Socks is not installed: "
                "apt-get install libio-socket-socks-perl"
            )
        proxy = self.startProxy()
        program = """
            use strict;
            use IO::Socket::Socks;
            use Socket qw(:DEFAULT inet_ntop inet_pton);
            my ($relay, $port4, $port6) = @ARGV;
            my $socket = IO::Socket::Socks->new(
              UdpAddr => "0.0.0.0", UdpPort => 0, SocksResolve => 1,
              ProxyAddr => "127.0.0.1", ProxyPort => $relay,
            ) or die $SOCKS_ERROR;
            for my $peer (
              pack_sockaddr_in($port4, inet_aton("127.0.0.1")),
              pack_sockaddr_in6($port6, inet_pton(AF_INET6, "::1")),
              ["localhost", $port4],
            ) {
              $socket->send("0123456789" x 1000, 0, $peer) or die $!;
              my $from = $socket->recv(my $data, 65000) or die $!;
              my $family = sockaddr_family($from);
              my ($port, $host) = $family == AF_INET
                ? unpack_sockaddr_in($from) : unpack_sockaddr_in6($from);
              print inet_ntop($family, $host), ":$port $data\\n";
            }
            $socket->close();
        """
        self.assertServed(
            proxy, "perl", "-e", textwrap.dedent(program), str(proxy.port)
        )
