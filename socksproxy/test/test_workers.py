"""
Tests for L{socksproxy.workers}, and of C{twistd socks5 --workers} as a whole.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import skipIf, skipUnless

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from socksproxy import command, tap
from socksproxy.test.processes import (
    PATIENCE,
    Client,
    Finished,
    ProcessTestCase,
    Proxy,
    needs,
    script,
)
from socksproxy.test.test_service import AtOnce
from socksproxy.test.test_service import FakePort as StoppedPort
from socksproxy.test.test_tap import hasTLS
from socksproxy.worker import NUMBER
from socksproxy.workers import KILL_AFTER, Workers


class FakeProcess:
    """
    A process that has only been asked for.
    """

    pid = 1000

    def __init__(
        self,
        protocol: Any,
        executable: str,
        args: list[str],
        env: dict[str, str],
        childFDs: dict[int, Any],
    ) -> None:
        self.protocol = protocol
        self.args = args
        self.env = env
        self.childFDs = childFDs
        self.signals: list[str] = []
        protocol.makeConnection(self)

    def signalProcess(self, signal: str) -> None:
        self.signals.append(signal)

    def listens(self) -> None:
        self.protocol.outReceived(b"\n")

    def ends(self, status: int = 1) -> None:
        self.protocol.processEnded(Failure(ProcessTerminated(status)))


class FakeReactor(Clock):
    """
    Starts no processes, but does as if.

    @ivar turn: called at each turn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.turn: Callable[[], object] = self.allListen
        self.failing = False

    def spawnProcess(self, *args: Any, **kwargs: Any) -> FakeProcess:
        if self.failing:
            raise OSError("no more processes")
        self.processes.append(FakeProcess(*args, **kwargs))
        return self.processes[-1]

    def iterate(self, delay: float) -> None:
        self.turn()

    def allListen(self) -> None:
        for process in self.processes:
            process.listens()


class FakePort:
    """
    A port that listens on a real socket.
    """

    backlog = 50
    fileno: Any = None

    def __init__(self, listening: socket.socket, port: int | None = 0) -> None:
        self.socket = listening
        self.port = port
        self.reads = True

    def stopReading(self) -> None:
        self.reads = False


class WorkersTests(SynchronousTestCase):
    """
    The parent, without processes.
    """

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.workers = Workers(self.reactor, 2, ["-n", "socks5"], grace=3)
        self.addCleanup(lambda: self.workers.running and self.workers.stopService())

    def listener(self, family: int = socket.AF_INET) -> FakePort:
        """
        A port that this test closes.
        """
        listening = socket.socket(family)
        if family == socket.AF_INET:
            listening.bind(("127.0.0.1", 0))
        else:
            listening.bind(b"\0" + os.urandom(8).hex().encode())
        listening.listen()
        port = FakePort(listening)
        self.addCleanup(lambda: port.socket.close())  # noqa: PLW0108 (it may change)
        return port

    def events(self) -> list[Any]:
        """
        What is logged from now on.
        """
        events: list[Any] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return events

    def inherited(self) -> list[list[int]]:
        """
        The listening descriptors of each worker.
        """
        return [
            [descriptor for child, descriptor in process.childFDs.items() if child > 2]
            for process in self.reactor.processes
        ]

    def test_starts(self) -> None:
        """
        The workers are told their number, and have a pipe that ends with this
        process.
        """
        self.workers.startService()
        self.assertEqual(
            [process.env[NUMBER] for process in self.reactor.processes], ["1", "2"]
        )
        for process in self.reactor.processes:
            self.assertEqual(process.childFDs, {0: "w", 1: "r", 2: "r"})
            self.assertEqual(process.args[-2:], ["-n", "socks5"])

    @skipUnless(sys.platform == "linux", "the sockets of one port share it on Linux")
    def test_ownSockets(self) -> None:
        """
        Each worker has a socket of its own for an address; this process
        accepts nothing.
        """
        port = self.listener()
        self.workers.share([port])
        self.assertFalse(port.reads)
        self.workers.startService()
        (first,), (second,) = self.inherited()
        self.assertEqual(first, port.socket.fileno())
        self.assertEqual(port.fileno(), first)
        self.assertNotEqual(first, second)
        with socket.socket(fileno=os.dup(second)) as another:
            self.assertEqual(another.getsockname(), port.socket.getsockname())

    def test_oneSocket(self) -> None:
        """
        A UNIX socket is for all of them, and so is one that was inherited.
        """
        local, systemd = self.listener(socket.AF_UNIX), self.listener()
        systemd.port = None
        self.workers.share([local, systemd])
        self.workers.startService()
        both = [local.socket.fileno(), systemd.socket.fileno()]
        self.assertEqual(self.inherited(), [both, both])

    def test_fromSystemd(self) -> None:
        """
        Descriptors that systemd has counted keep their places.
        """
        self.patch(os, "environ", {"LISTEN_FDNAMES": "a:b"})
        port = self.listener(socket.AF_UNIX)
        self.workers.share([port])
        self.workers.startService()
        self.assertEqual(self.inherited()[0], [port.socket.fileno()] * 3)
        self.assertEqual(self.reactor.processes[0].env["LISTEN_FDS"], "2")

    def test_noSocket(self) -> None:
        """
        What has no socket cannot be shared.
        """
        self.assertRaises(ValueError, self.workers.share, [object()])

    def test_endsBeforeItListens(self) -> None:
        """
        What a worker says when it cannot start is said to who started this
        process.
        """

        def turn() -> None:
            first, second = self.reactor.processes
            second.listens()
            first.protocol.errReceived(b"some warning\nsocks5: no such ")
            first.protocol.errReceived(b"file\n")
            first.ends()

        self.reactor.turn = turn
        wrong = self.assertRaises(RuntimeError, self.workers.startService)
        self.assertEqual(str(wrong), "no such file")

    def test_endsSilently(self) -> None:
        """
        If it says nothing its status has to do.
        """
        self.reactor.turn = lambda: self.reactor.processes[1].ends(7)
        wrong = self.assertRaises(RuntimeError, self.workers.startService)
        self.assertIn("exit code 7", str(wrong))

    def test_noProcess(self) -> None:
        """
        The system may refuse to start another process.
        """
        self.reactor.failing = True
        self.reactor.turn = lambda: None
        wrong = self.assertRaises(RuntimeError, self.workers.startService)
        self.assertIn("no more processes", str(wrong))
        self.flushLoggedErrors(OSError)

    def test_restart(self) -> None:
        """
        One that dies later is started again, with the same sockets, and that is
        logged.
        """
        self.workers.share([self.listener()])
        self.workers.startService()
        events = self.events()
        self.reactor.advance(2)
        self.reactor.processes[1].ends(9)
        self.assertIn("exit code 9", events[0]["why"])
        self.assertEqual(events[0]["worker"], "2")
        self.reactor.advance(0)
        _, old, new = self.reactor.processes
        self.assertEqual(new.childFDs, old.childFDs)
        self.assertEqual(new.env[NUMBER], "2")

    def test_restartFails(self) -> None:
        """
        If that does not work it is tried again, at intervals that grow, to a
        limit.
        """
        self.workers.startService()
        self.reactor.failing = True
        self.reactor.processes[0].ends()
        for _ in range(8):
            self.reactor.advance(self.workers.maxRestartDelay)
        self.reactor.failing = False
        self.reactor.advance(self.workers.maxRestartDelay)
        self.assertEqual(len(self.reactor.processes), 3)
        self.flushLoggedErrors(OSError)

    def test_log(self) -> None:
        """
        What a worker logs is logged here, with its number, however it arrives.
        """
        self.workers.startService()
        events = self.events()
        line = json.dumps(("warn", "room#warn", "one\ntwo")).encode() + b"\n"
        receive = self.reactor.processes[1].protocol.outReceived
        for at in range(len(line)):
            receive(line[:at])
            receive(line[at:])
        receive(b"this is no JSON\n")
        self.assertEqual(len(events), len(line) + 1)
        for event in events[:-1]:
            self.assertEqual(event["text"], "one\ntwo")
            self.assertEqual(event["log_level"].name, "warn")
            self.assertEqual(event["log_system"], "worker 2 room#warn")
        self.assertEqual(events[-1]["text"], "this is no JSON")

    def test_hangUp(self) -> None:
        """
        SIGHUP goes to those that are ready for it.
        """
        self.workers.startService()
        first, second = self.reactor.processes
        second.ends()
        self.reactor.advance(1)
        self.workers.hangUp()
        self.assertEqual(first.signals, ["HUP"])
        self.assertEqual(self.reactor.processes[2].signals, [])

    def test_stop(self) -> None:
        """
        The workers are told to stop, and waited for.
        """
        self.workers.startService()
        first, second = self.reactor.processes
        stopped = self.workers.stopService()
        self.assertEqual((first.signals, second.signals), (["TERM"], ["TERM"]))
        first.protocol.processEnded(Failure(ProcessDone(0)))
        self.assertNoResult(stopped)
        second.ends()
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_kill(self) -> None:
        """
        One that does not stop is killed, but not before its sessions' grace
        period is over.
        """
        self.workers.startService()
        self.workers.stopService()
        self.reactor.advance(3 + KILL_AFTER - 0.1)
        self.assertEqual(self.reactor.processes[0].signals, ["TERM"])
        self.reactor.advance(0.2)
        self.assertEqual(self.reactor.processes[0].signals, ["TERM", "KILL"])


class FakeWorkers:
    """
    Remembers what the parent wanted of its workers.

    @ivar wrong: what is raised by L{share} and L{startService}.
    """

    wrong: Exception | None = None

    def __init__(self) -> None:
        self.calls: list[str] = []

    def share(self, ports: Any) -> None:
        self._call("share")

    def startService(self) -> None:
        self._call("start")

    def stopService(self) -> Deferred[None]:
        self._call("stop")
        return succeed(None)

    def hangUp(self) -> None:
        self._call("hang up")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.wrong is not None:
            raise self.wrong


class LocalPort(StoppedPort):
    """
    A port that nobody can reach from elsewhere.
    """

    def getHost(self) -> UNIXAddress:
        return UNIXAddress("socks")


class CommandLineTests(SynchronousTestCase):
    """
    Which part a process has.
    """

    def setUp(self) -> None:
        self.patch(signal, "signal", lambda number, handler: None)
        self.patch(sys, "excepthook", sys.excepthook)

    def made(self, *arguments: str) -> Any:
        """
        The service of a command line.
        """
        options = tap.Options()
        options.parseOptions(["--port", "0", *arguments])
        return tap.makeService(options)

    def parent(self) -> tuple[Any, FakeWorkers]:
        """
        A parent that only seems to listen.
        """
        service, workers = self.made("--workers", "2"), FakeWorkers()
        service.endpoints = [AtOnce(LocalPort())]
        service._workers = workers
        return service, workers

    def test_alone(self) -> None:
        """
        One process has the whole of a limit.
        """
        service = self.made("--max-connections", "7")
        self.assertEqual(type(service), command.CommandLineService)
        self.assertEqual(service.factory.limits.maxConnections, 7)

    def test_worker(self) -> None:
        """
        A process that is told its number is a worker, with its part of the
        limit; processes that it starts are none.
        """
        environ = {NUMBER: "1"}
        self.patch(os, "environ", environ)
        service = self.made("--workers", "2", "--max-connections", "7")
        self.assertEqual(type(service), command.Worker)
        self.assertEqual(service.factory.limits.maxConnections, 4)
        self.assertEqual(environ, {})

    def test_parent(self) -> None:
        """
        Otherwise it is the parent of workers, which start with it and stop with
        it.
        """
        service, workers = self.parent()
        service.privilegedStartService()
        service.startService()
        service.hangUp()
        self.assertEqual(workers.calls, ["share", "start", "hang up"])
        self.successResultOf(service.stopService())
        self.assertEqual(workers.calls[3:], ["stop"])

    def test_cannotStart(self) -> None:
        """
        What goes wrong with the workers goes wrong with the start.
        """
        service, workers = self.parent()
        workers.wrong = RuntimeError("no such file")
        wrong = self.assertRaises(command.CannotStart, service.privilegedStartService)
        self.assertIn("no such file", str(wrong))
        wrong = self.assertRaises(command.CannotStart, service.startService)
        self.assertIn("a worker cannot start: no such file", str(wrong))

    def test_arguments(self) -> None:
        """
        A worker has the options of its parent, and its reactor.
        """
        options = tap.Options()
        options.parseOptions(["-p", "1", "--workers", "3"])
        options.parent = {"reactor": "poll"}  # type: ignore[assignment]
        self.assertEqual(
            " ".join(tap._workerArguments(options)),
            "-n --pidfile= --logger=socksproxy.worker.ParentsLog --reactor poll "
            "socks5 -p 1 --workers 3 --workers 3",
        )


class WorkersTestCase(ProcessTestCase):
    """
    Tests with a parent and its workers.
    """

    def startWorkers(self, *options: str, **kwargs: Any) -> Proxy:
        """
        A proxy with two workers, which listen.
        """
        proxy = self.startProxy("--workers", "2", *options, **kwargs)
        self.until(lambda: len(pids(proxy)) == 2, "the workers do not listen")
        return proxy

    def assertServes(self, client: Client) -> None:
        """
        A client gets its answer.
        """
        self.client(client)
        self.assertEqual(client.greet(), b"\x05\x00")

    def assertGone(self, pid: int) -> None:
        """
        A process ends by itself.
        """

        def isGone() -> bool:
            try:
                stat = Path(f"/proc/{pid}/stat").read_text()
            except OSError:
                return True
            # Its new parent may be slow to notice.
            return stat.rpartition(")")[2].split()[0] == "Z"

        self.until(isGone, "the worker does not end")


def pids(proxy: Proxy) -> dict[str, int]:
    """
    The processes of the workers that listen, by their numbers.
    """
    return {
        number: int(pid)
        for number, pid in re.findall(
            r"Worker (\d+) listens, its process is (\d+)\.", proxy.log
        )
    }


def unixClient(path: str) -> Client:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    return Client(connection)


@skipUnless(sys.platform == "linux", "this looks into /proc")
class ServingTests(WorkersTestCase):
    """
    Several processes are one proxy.
    """

    def test_life(self) -> None:
        """
        All workers serve.  When one is killed, those who waited for it are
        served by its successor.  SIGHUP gets to all and does no harm.
        """
        path = os.path.join(self.directory(), "socks")
        proxy = self.startWorkers(
            "--port", "0", "--listen", f"unix:{path}:mode=600", listeners=2
        )
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        target = self.listener()

        def bothHaveServed() -> bool:
            client = self.client(proxy.greeted())
            client.request(*target.getsockname())
            self.accept(target).socket.close()
            client.socket.close()
            served = re.findall(r"\[worker (\d) .*accesslog.* CONNECT ", proxy.log)
            return set(served) == {"1", "2"}

        self.until(bothHaveServed, "one worker serves nobody")

        proxy.process.send_signal(signal.SIGHUP)
        self.until(
            lambda: proxy.log.count("nothing that could be read again") == 2,
            "SIGHUP does not get to all workers",
        )

        first = pids(proxy)["1"]
        os.kill(first, signal.SIGSTOP)
        waiting = [self.client(proxy.client()) for _ in range(32)]
        for client in waiting:
            client.socket.sendall(b"\x05\x01\x00")
        os.kill(first, signal.SIGKILL)
        for client in waiting:
            self.assertEqual(client.receive(2), b"\x05\x00")
        self.until(lambda: pids(proxy)["1"] != first, "no successor is announced")
        self.assertIn("Worker 1 has ended and is started again", proxy.log)
        for _ in range(4):
            self.assertServes(unixClient(path))
        for client in waiting:
            client.socket.close()
        self.assertStops(proxy)
        self.assertFalse(os.path.exists(path))
        self.assertQuiet(proxy)

    def test_grace(self) -> None:
        """
        On SIGTERM nobody is let in any more, and a session that is left goes on
        for the grace period, also when all processes are told to stop, as
        systemd does it.
        """
        proxy = self.startWorkers("--port", "0", "--grace", "60")
        port = proxy.port
        target = self.listener()
        client = self.client(proxy.greeted())
        client.request(*target.getsockname())
        server = self.accept(target)
        proxy.process.send_signal(signal.SIGTERM)
        for pid in pids(proxy).values():
            os.kill(pid, signal.SIGTERM)

        def isRefused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), PATIENCE).close()
            except OSError:
                return True
            return False

        self.until(isRefused, "it goes on to listen")
        client.socket.sendall(b"ping")
        self.assertEqual(server.receive(4), b"ping")
        self.assertIs(proxy.process.poll(), None)
        client.socket.close()
        server.socket.close()
        proxy.process.wait(PATIENCE)
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    def test_parentKilled(self) -> None:
        """
        Workers do not outlive their parent, and another one can take its place.
        """
        path = os.path.join(self.directory(), "socks")
        proxy = self.startWorkers("--port", "0", "--listen", f"unix:{path}")
        taken = str(proxy.port)
        workers = pids(proxy).values()
        proxy.kill()
        for pid in workers:
            self.assertGone(pid)
        second = self.startWorkers("--port", taken, "--listen", f"unix:{path}")
        self.assertServes(second.client())
        self.assertServes(unixClient(path))

    def test_systemd(self) -> None:
        """
        Sockets that the parent has inherited are for all workers, whatever else
        they listen on.
        """
        path = os.path.join(self.directory(), "socks")
        activate = (
            "import os, socket, sys, fcntl\n"
            f"local = socket.socket(socket.AF_UNIX); local.bind({path!r})\n"
            "inet = socket.create_server(('127.0.0.1', 0)); local.listen()\n"
            "moved = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (local, inet)]\n"
            "for number, each in enumerate(moved, 3): os.dup2(each, number)\n"
            "os.environ.update(\n"
            "    LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='a:b'\n"
            ")\n"
            "os.execv(sys.argv[1], sys.argv[1:])\n"
        )
        proxy = self.startWorkers(
            *("--port", "0", "--listen", "systemd:domain=INET:index=1"),
            *("--listen", "systemd:domain=UNIX:name=a"),
            prefix=(sys.executable, "-c", activate),
            listeners=3,
        )
        for port in proxy.ports[:2]:
            self.assertServes(
                Client(socket.create_connection(("127.0.0.1", port), PATIENCE))
            )
        self.assertServes(unixClient(path))
        self.assertStops(proxy)
        self.assertQuiet(proxy)

    @needs("openssl")
    @skipIf(not hasTLS, "pyOpenSSL is not installed: pip install twisted[tls]")
    def test_TLS(self) -> None:
        """
        SOCKS within TLS.
        """
        description, context = self.listenTLS()
        proxy = self.startWorkers("--listen", description)
        self.assertServes(self.tlsClient(proxy.port, context))


@skipUnless(sys.platform == "linux", "this looks into /proc")
class StartingTests(WorkersTestCase):
    """
    C{twistd}'s own options, and starts that fail.
    """

    def assertSays(self, finished: Finished, *words: str) -> None:
        """
        It ended with a status that is not 0, and one line says why.
        """
        said = finished.output + finished.errors
        self.assertNotEqual(finished.status, 0, repr(finished))
        self.assertNotIn("Traceback", said)
        (line,) = (line for line in said.splitlines() if "socks5: " in line)
        for word in words:
            self.assertIn(word, line)

    def test_stoppedEarly(self) -> None:
        """
        A parent that is told to stop before all its workers listen stops in order.
        """
        proxy = self.startProxy("--workers", "2", "--port", "0")
        self.assertStops(proxy)

    def test_workerCannotStart(self) -> None:
        """
        When the workers cannot start, the parent ends and says what they said.
        In the background the command that starts it fails.
        """
        # A worker reads its files after the change of the directory.
        directory, elsewhere = self.directory(), self.directory()
        Path(directory, "users").write_text("ann:one\n")
        pidfile = os.path.join(directory, "pid")
        command = (script("twistd"), f"--pidfile={pidfile}", f"--rundir={elsewhere}")
        options = ("socks5", "--port", "0", "--workers", "2", "--auth", "file:users")
        finished = self.run_(*command, "-n", *options, cwd=directory)
        self.assertSays(finished, "a worker cannot start", "users", "No such file")
        self.assertFalse(os.path.exists(pidfile))
        daemon = self.run_(*command, *options, cwd=directory)
        self.assertNotEqual(daemon.status, 0, repr(daemon))
        self.assertFalse(os.path.exists(pidfile))

    def test_portInUse(self) -> None:
        """
        A port that other workers have is in use.
        """
        proxy = self.startWorkers("--port", "0")
        finished = self.run_(
            *(script("twistd"), "-n", "--pidfile=", "socks5", "--workers", "2"),
            *("--port", str(proxy.port)),
        )
        self.assertSays(finished, str(proxy.port), "Address already in use")

    def test_daemon(self) -> None:
        """
        In the background, with another reactor: one pid file, which is the
        parent's, and one log.
        """
        directory = self.directory()
        started = subprocess.run(
            [
                *(script("twistd"), "--reactor", "poll", "--logfile", "socks.log"),
                *("socks5", "--port", "0", "--workers", "2"),
            ],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
        pidfile = Path(directory, "twistd.pid")
        log = Path(directory, "socks.log").read_text()
        self.assertEqual(started.returncode, 0, log)
        pid = int(pidfile.read_text())
        self.addCleanup(self.kill, pid)
        self.assertEqual(log.count("reactor class: twisted.internet.pollreactor"), 3)
        (port,) = set(re.findall(r"starting on (\d+)", log))
        self.assertServes(
            Client(socket.create_connection(("127.0.0.1", int(port)), PATIENCE))
        )
        os.kill(pid, signal.SIGTERM)
        self.until(lambda: not pidfile.exists(), "the daemon does not stop")
        self.assertEqual(sorted(os.listdir(directory)), ["socks.log"])
        log = Path(directory, "socks.log").read_text()
        self.assertNotIn("Traceback", log)
        self.assertIn("[worker 1 ", log)
        self.assertIn("[worker 2 ", log)

    def kill(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    @skipIf(os.getuid() != 0, "only root can become somebody else")
    def test_privileges(self) -> None:
        """
        Workers have the user and the group that the parent has taken on.
        """
        nobody = "nobody" if self.canBe("nobody") else "root"
        proxy = self.startProcess(
            [
                *(script("twistd"), "-n", "--pidfile=", "--uid", nobody),
                *("--gid", "1", "socks5", "--port", "0", "--workers", "2"),
            ]
        )
        self.until(lambda: len(pids(proxy)) == 2, "the workers do not listen")
        for pid in pids(proxy).values():
            for ours, theirs in zip(
                self.owners(proxy.process.pid), self.owners(pid), strict=True
            ):
                self.assertEqual(ours, theirs)
            self.assertEqual(self.owners(pid)[1], ["1"] * 4)
        self.assertServes(proxy.client())

    def canBe(self, user: str) -> bool:
        """
        Whether somebody may read what a worker consists of.
        """
        command = [sys.executable, "-c", "import socksproxy.tap"]
        try:
            subprocess.run(command, cwd="/", user=user, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return False
        return True

    def owners(self, pid: int) -> list[list[str]]:
        """
        The users and the groups of a process.
        """
        status = Path(f"/proc/{pid}/status").read_text()
        return [
            line.split()[1:]
            for line in status.splitlines()
            if line.startswith(("Uid:", "Gid:"))
        ]
