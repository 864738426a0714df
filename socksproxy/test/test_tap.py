"""
Tests for L{socksproxy.tap}: the options, and what C{twistd} makes of them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from unittest import skipIf

import socksproxy
from socksproxy.test.commandline import OptionsTestCase, parsed
from socksproxy.test.processes import (
    PATIENCE,
    Client,
    Finished,
    ProcessTestCase,
    Proxy,
    needs,
    script,
)

try:
    import OpenSSL
except ImportError:
    hasTLS = False
else:
    hasTLS = bool(OpenSSL)


class OptionsTests(OptionsTestCase):
    """
    The command line, without a process.
    """

    def test_grace(self) -> None:
        """
        Sessions have a while to end, unless they are to have none.
        """
        self.assertGreater(parsed()["grace"], 0)
        self.assertEqual(parsed("--grace", "0")["grace"], 0)
        self.assertGivesUp("--grace", "-1", says="--grace: '-1' is not a number of")

    def test_workers(self) -> None:
        """
        One process serves unless told; 0 is as many as there are processors to
        use.
        """
        self.assertEqual(parsed()["workers"], 1)
        self.assertEqual(parsed("--workers", "3")["workers"], 3)
        self.patch(os, "sched_getaffinity", lambda pid: {1, 3})
        self.assertEqual(parsed("--workers", "0")["workers"], 2)
        self.assertGivesUp("--workers", "many", says="--workers: 'many' is not a num")

    def test_checkers(self) -> None:
        """
        Several C{--auth} add up.
        """
        options = parsed("--auth", "memory:a:b", "--auth", "memory:c:d")
        self.assertEqual(len(options["credCheckers"]), 2)


class MistakeTests(ProcessTestCase):
    """
    A command line that cannot be meant ends with one line that says why.
    """

    def socks5(self, *options: str) -> Finished:
        """
        Run C{twistd socks5} where it is expected to end by itself.
        """
        return self.run_(script("twistd"), "-n", "--pidfile=", "socks5", *options)

    def assertOneLine(self, options: tuple[str, ...], *words: str) -> None:
        """
        That is all, and the status is not 0.
        """
        finished = self.socks5(*options)
        self.assertNotEqual(finished.status, 0, repr(finished))
        self.assertEqual(finished.output, "")
        self.assertEqual(len(finished.errors.splitlines()), 1, repr(finished))
        self.assertTrue(finished.errors.startswith("socks5: "), repr(finished))
        for word in words:
            self.assertIn(word, finished.errors)

    def test_unknownOption(self) -> None:
        """
        The option is named.
        """
        self.assertOneLine(("--porrt", "1080"), "--porrt")

    def test_badPort(self) -> None:
        """
        What is not a port is quoted, also a number that is too large.
        """
        self.assertOneLine(("--port", "http"), "'http'", "port")
        self.assertOneLine(("--port", "65536"), "'65536'", "65535")

    def test_badEndpoint(self) -> None:
        """
        A description that Twisted does not know is repeated.
        """
        self.assertOneLine(("--listen", "carrier:pigeon"), "carrier:pigeon")
        self.assertOneLine(("--listen", "tcp"), "--listen tcp")
        self.assertOneLine(("--listen", "tcp:0:colour=red"), "tcp:0:colour=red")

    def test_missingAuthFile(self) -> None:
        """
        A file of passwords that is not there is named.
        """
        self.assertOneLine(("--auth", "file:/no/such/file"), "/no/such/file")

    def test_badAuth(self) -> None:
        """
        So is a kind of checker that nobody has installed.
        """
        self.assertOneLine(("--auth", "palmistry:left"), "palmistry")

    def test_extraArgument(self) -> None:
        """
        An argument that is no option is a mistake too.
        """
        self.assertOneLine(("--port", "0", "1080"), "'1080'")

    def test_missingValue(self) -> None:
        """
        So is an option without its value.
        """
        self.assertOneLine(("--port",), "--port")

    def test_missingKey(self) -> None:
        """
        And a key file that is not there.
        """
        self.assertOneLine(("--listen", "ssl:0:privateKey=/no/key"), "/no/key")


class RefusedStartTests(ProcessTestCase):
    """
    What shows only when it starts to listen is said in one line of the log,
    which is on the terminal with C{-n}.
    """

    def assertRefused(self, options: tuple[str, ...], *words: str) -> None:
        """
        It ends, and one line says why.
        """
        finished = self.run_(script("twistd"), "-n", "--pidfile=", "socks5", *options)
        said = finished.output + finished.errors
        self.assertNotEqual(finished.status, 0, repr(finished))
        self.assertNotIn("Traceback", said)
        lines = [line for line in said.splitlines() if "socks5: " in line]
        self.assertEqual(len(lines), 1, repr(finished))
        for word in words:
            self.assertIn(word, lines[0])

    def test_portInUse(self) -> None:
        """
        A port that another program has.
        """
        port = self.listener().getsockname()[1]
        self.assertRefused(
            ("--port", str(port)), f"127.0.0.1:{port}", "Address already in use"
        )

    def test_secondListenerInUse(self) -> None:
        """
        One listener that cannot be had is one too many.
        """
        port = self.listener().getsockname()[1]
        self.assertRefused(
            ("--port", "0", "--listen", f"tcp:{port}:interface=127.0.0.1"),
            "Address already in use",
        )

    def test_foreignSource(self) -> None:
        """
        A source address, or an interface, that this machine does not have.
        """
        self.assertRefused(
            ("--port", "0", "--bind-address", "192.0.2.1"), "192.0.2.1", "assign"
        )
        self.assertRefused(
            ("--port", "0", "--bind-interface", "none0"), "none0", "No such device"
        )

    def test_foreignAddress(self) -> None:
        """
        An address that is not this machine's.
        """
        self.assertRefused(("--interface", "192.0.2.1", "--port", "0"), "192.0.2.1")

    def test_openProxy(self) -> None:
        """
        Without a login it does not listen where others can reach it, and says
        which options are for that.
        """
        for options in (
            ("--interface", "0.0.0.0", "--port", "0"),
            ("--listen", "tcp:0"),
            ("--port", "0", "--listen", "tcp6:0"),
        ):
            self.assertRefused(options, "--auth", "--open-proxy")

    def test_insisted(self) -> None:
        """
        C{--open-proxy} says that it is wanted.
        """
        proxy = self.startProxy("--interface", "0.0.0.0", "--port", "0", "--open-proxy")
        self.client(proxy.greeted())

    def test_openWithLogin(self) -> None:
        """
        With C{--auth} any address is fine.
        """
        proxy = self.startProxy(
            "--interface", "0.0.0.0", "--port", "0", "--auth", "memory:u:p"
        )
        client = self.client(proxy.client())
        self.assertEqual(client.greet(b"\x00"), b"\x05\xff")


class ListenerTests(ProcessTestCase):
    """
    Every kind of listener leads to the same server.
    """

    def assertServes(self, client: Client) -> None:
        """
        Bytes get to a target and back.
        """
        self.client(client)
        self.assertEqual(client.greet(), b"\x05\x00")
        target = self.reached(client)
        client.socket.close()
        target.socket.close()

    def at(self, host: str, port: int) -> Client:
        """
        A connection to a listener.
        """
        return Client(socket.create_connection((host, port), PATIENCE))

    def test_port(self) -> None:
        """
        C{--port}, as everybody starts it.
        """
        proxy = self.startProxy("--port", "0")
        self.assertServes(proxy.client())
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    def test_SIGHUP(self) -> None:
        """
        SIGHUP is logged, and does no harm.
        """
        proxy = self.startProxy("--port", "0")
        self.client(proxy.greeted())
        proxy.process.send_signal(signal.SIGHUP)
        self.until(lambda: "SIGHUP" in proxy.log, "SIGHUP is not logged")
        self.client(proxy.greeted())
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    def test_IPv6(self) -> None:
        """
        An endpoint with an IPv6 address.
        """
        proxy = self.startProxy("--listen", "tcp6:0:interface=\\:\\:1")
        self.assertServes(proxy.client("::1"))

    def test_source(self) -> None:
        """
        C{--bind-address}: targets see that address, and a family without one
        is not used.
        """
        proxy = self.startProxy("--port", "0", "--bind-address", "127.0.0.9")
        target = self.listener()
        client = self.client(proxy.greeted())
        code, bound = client.request("127.0.0.1", target.getsockname()[1])
        self.assertEqual((code, bound[0]), (0, "127.0.0.9"))
        accepted, peer = target.accept()
        accepted.close()
        self.assertEqual(peer, bound)
        other = self.client(proxy.greeted())
        self.assertEqual(other.request("::1", target.getsockname()[1])[0], 3)
        self.until(lambda: "no source address" in proxy.log, "it is not logged")
        self.assertQuiet(proxy)

    def test_sourceInterface(self) -> None:
        """
        C{--bind-interface}: all goes out by it.
        """
        proxy = self.startProxy("--port", "0", "--bind-interface", "lo")
        self.assertServes(proxy.client())

    def test_IPv6Interface(self) -> None:
        """
        C{--interface} with one.
        """
        proxy = self.startProxy("--interface", "::1", "--port", "0")
        self.assertServes(proxy.client("::1"))

    def test_UNIX(self) -> None:
        """
        A UNIX socket, which needs no login; it is gone after the end.
        """
        path = os.path.join(self.directory(), "socks")
        proxy = self.startProxy("--listen", f"unix:{path}")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(path)
        self.assertServes(Client(connection))
        self.assertStops(proxy)
        self.assertFalse(os.path.exists(path))
        self.assertQuiet(proxy)

    @needs("openssl")
    @skipIf(not hasTLS, "pyOpenSSL is not installed: pip install twisted[tls]")
    def test_TLS(self) -> None:
        """
        SOCKS within TLS.
        """
        description, context = self.listenTLS()
        proxy = self.startProxy("--listen", description)
        self.assertServes(self.tlsClient(proxy.port, context))

    def test_several(self) -> None:
        """
        Any number of listeners at a time.
        """
        path = os.path.join(self.directory(), "socks")
        proxy = self.startProxy(
            *("--port", "0", "--listen", "tcp6:0:interface=\\:\\:1"),
            *("--listen", f"unix:{path}"),
            listeners=3,
        )
        first, second = proxy.ports
        self.assertServes(self.at("127.0.0.1", first))
        self.assertServes(self.at("::1", second))
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(path)
        self.assertServes(Client(connection))

    def test_twist(self) -> None:
        """
        C{twist socks5} is the same server.
        """
        proxy = self.startProcess(
            [script("twist"), "--log-format=text", "socks5", "--port", "0"]
        )
        self.until(lambda: proxy.ports, "twist does not listen")
        self.assertServes(proxy.client())
        self.assertStops(proxy)
        self.assertNotIn("Traceback", proxy.log + proxy.errors)


class LoginTests(ProcessTestCase):
    """
    C{--auth}, on the wire.
    """

    def login(self, proxy: Proxy, name: bytes, password: bytes) -> bytes:
        """
        @return: the answer to a login, without a wait for what comes after it.
        """
        client = self.client(proxy.client())
        self.assertEqual(client.greet(b"\x00\x02"), b"\x05\x02")
        client.socket.sendall(
            bytes((1, len(name))) + name + bytes((len(password),)) + password
        )
        return client.receive(2)

    def test_memory(self) -> None:
        """
        C{memory:} takes the pair from the command line.
        """
        proxy = self.startProxy("--port", "0", "--auth", "memory:ann:s3cret")
        self.assertEqual(self.login(proxy, b"ann", b"s3cret"), b"\x01\x00")
        refused = self.login(proxy, b"ann", b"secret")
        self.assertEqual(refused[:1], b"\x01")
        self.assertNotEqual(refused[1:], b"\x00")
        self.assertNotIn("s3cret", proxy.log)
        self.assertQuiet(proxy)

    def test_file(self) -> None:
        """
        C{file:} reads C{name:password} lines.
        """
        path = os.path.join(self.directory(), "passwords")
        with open(path, "w") as passwords:
            passwords.write("ann:one\nbob:two\n")
        proxy = self.startProxy("--port", "0", "--auth", f"file:{path}")
        self.assertEqual(self.login(proxy, b"bob", b"two"), b"\x01\x00")
        self.assertEqual(self.login(proxy, b"ann", b"one"), b"\x01\x00")
        self.assertNotEqual(self.login(proxy, b"ann", b"two"), b"\x01\x00")
        self.assertQuiet(proxy)

    def test_several(self) -> None:
        """
        Whoever one of several checkers knows is let in.
        """
        proxy = self.startProxy(
            "--port", "0", "--auth", "memory:ann:one", "--auth", "memory:bob:two"
        )
        self.assertEqual(self.login(proxy, b"ann", b"one"), b"\x01\x00")
        self.assertEqual(self.login(proxy, b"bob", b"two"), b"\x01\x00")


class HelpTests(ProcessTestCase):
    """
    What a person is told who asks.
    """

    def test_help(self) -> None:
        """
        C{--help} names every option, and succeeds.
        """
        finished = self.run_(script("twistd"), "socks5", "--help")
        self.assertEqual(finished.status, 0, repr(finished))
        for option in (
            *("port", "interface", "listen", "auth", "help-auth", "version"),
            *("handshake-timeout", "connect-timeout", "idle-timeout", "grace"),
            *("max-connections", "open-proxy", "workers"),
        ):
            self.assertIn(f"--{option}", finished.output)
        # Docstrings have line ends where the help has none.
        self.assertNotRegex(finished.output, r"\w {4,}[a-z]")

    def test_helpAuth(self) -> None:
        """
        C{--help-auth} names the kinds of checkers.
        """
        finished = self.run_(script("twistd"), "socks5", "--help-auth")
        self.assertEqual(finished.status, 0, repr(finished))
        self.assertIn("memory", finished.output)
        self.assertIn("file", finished.output)

    def test_version(self) -> None:
        """
        C{--version} is the package's, not Twisted's.
        """
        finished = self.run_(script("twistd"), "socks5", "--version")
        self.assertEqual(finished.status, 0, repr(finished))
        self.assertIn(socksproxy.__version__, finished.output)
        self.assertEqual(len(finished.output.splitlines()), 1)


class DaemonTests(ProcessTestCase):
    """
    C{twistd socks5} without C{-n}: in the background, with a pid file.
    """

    def twistd(self, directory: str, port: int) -> int:
        """
        Start it in the background.

        @return: the status of the command that does so.
        """
        # The daemon takes over no pipe of this process, or its end would have
        # to be waited for.
        command = subprocess.Popen(
            [script("twistd"), "socks5", "--port", str(port)],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            return command.wait(20)
        except subprocess.TimeoutExpired:
            command.kill()
            command.wait()
            self.fail("the command that starts the daemon does not end")

    def stop(self, directory: str) -> None:
        """
        Stop the daemon of a directory, if there is one.
        """
        path = os.path.join(directory, "twistd.pid")
        try:
            with open(path) as pidfile:
                pid = int(pidfile.read())
        except FileNotFoundError:
            return
        with open(f"/proc/{pid}/cmdline", "rb") as commandLine:
            self.assertIn(b"socks5", commandLine.read())
        os.kill(pid, 15)
        self.until(lambda: not os.path.exists(path), "the daemon does not stop")

    def test_portInUse(self) -> None:
        """
        When the port is in use the command says so by its status and leaves no
        pid file; the next start works, and stops on SIGTERM.
        """
        directory = self.directory()
        taken = self.listener()
        self.assertNotEqual(self.twistd(directory, taken.getsockname()[1]), 0)
        self.assertFalse(os.path.exists(os.path.join(directory, "twistd.pid")))
        self.addCleanup(self.stop, directory)
        self.assertEqual(self.twistd(directory, 0), 0)
        with open(os.path.join(directory, "twistd.log")) as log:
            self.assertNotIn("Traceback", log.read())
        self.stop(directory)

    def test_pidfile(self) -> None:
        """
        C{--pidfile} works in the foreground as well: no file is left by a start
        that failed or by one that was stopped.
        """
        path = os.path.join(self.directory(), "pid")
        command = [script("twistd"), "-n", f"--pidfile={path}", "socks5", "--port"]
        taken = self.listener()
        failed = self.run_(*command, str(taken.getsockname()[1]))
        self.assertNotEqual(failed.status, 0)
        self.assertFalse(os.path.exists(path), "the pid file is still there")
        proxy = self.startProcess([*command, "0"])
        self.until(lambda: proxy.ports, "it does not listen")
        proxy.greeted().socket.close()
        with open(path) as pidfile:
            self.assertEqual(int(pidfile.read()), proxy.process.pid)
        self.assertStops(proxy)
        self.assertFalse(os.path.exists(path))

    def test_importsNoReactor(self) -> None:
        """
        Importing the options installs no reactor: which one it is is for
        C{twistd --reactor} to say.
        """
        finished = self.run_(
            sys.executable,
            "-c",
            "import sys, socksproxy, socksproxy.tap\n"
            "sys.exit('twisted.internet.reactor' in sys.modules)",
        )
        self.assertEqual(finished.status, 0, repr(finished))
