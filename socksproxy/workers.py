"""
The parent of C{twistd socks5 --workers}: it listens, never accepts, and keeps
the processes that do.  What it gives them is in L{socksproxy.worker}.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.process import reapAllProcesses
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.runner.procmon import LoggingProtocol, ProcessMonitor

from socksproxy.worker import NUMBER, SharedSocket, countFromSystemd

__all__ = ["Workers"]

log = Logger()

KILL_AFTER = 5.0
"""
Seconds that a worker has to end when the grace period is over.
"""

TURN = 0.05
"""
Seconds between two looks at workers that start.
"""

PROGRAM = """\
import os, sys
sys.path = [path for path in sys.path if path]
os.environ["LISTEN_PID"] = str(os.getpid())
from twisted.scripts.twistd import run
run()
"""
"""
A C{twistd} that looks for nothing in the working directory.
"""


class _Worker(LoggingProtocol):
    """
    A worker, from its start to its end.

    @ivar listens: whether it does.
    """

    service: Workers
    listens = False

    def __init__(self) -> None:
        self._rest = b""
        self._complaint = b""

    @property
    def complaint(self) -> str:
        """
        The last that it said outside of its log.
        """
        lines = self._complaint.decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line:
                self._logLine(line)
            else:
                self.listens = True
                self.service.workerListens(self)

    def errReceived(self, data: bytes) -> None:
        self._complaint = (self._complaint + data)[-4096:]

    def processEnded(self, reason: Failure) -> None:
        super().processEnded(reason)
        self.service.workerEnded(self, reason)

    def _logLine(self, line: bytes) -> None:
        try:
            level, system, text = json.loads(line)
        except ValueError:
            level, system, text = "warn", "stdout", line.decode(errors="replace")
        log.emit(
            LogLevel.lookupByName(level),
            "{text}",
            text=text,
            worker=self.name,
            log_system=f"worker {self.name} {system}",
        )


class Workers(ProcessMonitor):
    """
    Processes that serve what this one listens on.
    """

    minRestartDelay = 1
    maxRestartDelay = 10

    protocols: dict[str, _Worker]  # type: ignore[assignment]

    isHurried = False
    """
    Whether L{startService} need not wait any more.
    """

    def __init__(
        self, reactor: Any, count: int, options: Sequence[str], grace: float
    ) -> None:
        """
        @param count: how many.
        @param options: those of the C{twistd} that each of them is.
        @param grace: how many seconds their sessions have when they stop.
        """
        super().__init__(reactor)
        self.reactor = reactor
        self.killTime = grace + KILL_AFTER  # type: ignore[assignment]
        self._command = [sys.executable, "-c", PROGRAM, *options]
        self._sockets: list[list[socket.socket]] = [[] for _ in range(count)]
        self._own: list[socket.socket] = []
        self._haveListened: set[str] = set()
        self._failed = ""
        self._ended: Deferred[None] | None = None
        for number in range(1, count + 1):
            self.addProcess(str(number), self._command)

    def share(self, ports: Iterable[Any]) -> None:
        """
        Have workers accept what comes to C{ports}, instead of this process.

        Each has a socket of its own where that is possible, which outlives
        it: who waits when a worker dies is served by its successor.

        @param ports: what an endpoint gave.
        @raise ValueError: one of them has no listening socket.
        """
        for port in ports:
            if getattr(port, "socket", None) is None:
                raise ValueError(f"workers cannot share {port}")
            port.stopReading()
            # This process lets go of it when the workers are still about to.
            listening = port.socket = SharedSocket(fileno=port.socket.detach())
            port.fileno = listening.fileno
            for number, sockets in enumerate(self._sockets):
                isOwn = number and _canBeShared(port)
                sockets.append(self._another(port) if isOwn else listening)

    def startService(self) -> None:
        """
        Start the workers, and wait until all of them listen.  The reactor must
        not run yet: whoever started this process wants to be told.

        @raise RuntimeError: one ended before.
        """
        super().startService()
        while not self.isHurried and len(self._haveListened) < len(self._sockets):
            self.reactor.iterate(TURN)
            # There is no signal that tells before the reactor runs.
            reapAllProcesses()
            if self._failed:
                raise RuntimeError(self._failed)

    def startProcess(self, name: str) -> None:
        """
        As in L{ProcessMonitor}, with the descriptors that a worker wants.
        """
        if name in self.protocols:
            return
        worker = self.protocols[name] = _Worker()
        worker.service, worker.name = self, name
        self.timeStarted[name] = self.reactor.seconds()
        sockets = self._sockets[int(name) - 1]
        fromSystemd = countFromSystemd(os.environ)
        descriptors: dict[int, str | int] = {0: "w", 1: "r", 2: "r"}
        for listening in [*sockets[:1] * fromSystemd, *sockets]:
            descriptors[len(descriptors)] = listening.fileno()
        try:
            self.reactor.spawnProcess(
                worker,
                self._command[0],
                self._command,
                env={**os.environ, NUMBER: name, "LISTEN_FDS": str(fromSystemd)},
                childFDs=descriptors,
            )
        except OSError:
            worker.connectionMade()
            worker.processEnded(Failure())

    def stopService(self) -> Deferred[None]:  # type: ignore[override]
        """
        Tell the workers to stop.

        @return: fires when they have.
        """
        super().stopService()
        own, self._own = self._own, []
        for listening in own:
            listening.close()
        if not self.protocols:
            return succeed(None)
        self._ended = Deferred()
        return self._ended

    def hangUp(self) -> None:
        """
        Pass SIGHUP on.  A worker that does not listen yet has only just read
        what it could read again.
        """
        for worker in self.protocols.values():
            if worker.listens:
                try:
                    worker.transport.signalProcess("HUP")  # type: ignore[union-attr]
                except ProcessExitedAlready:
                    pass

    def workerListens(self, worker: _Worker) -> None:
        self._haveListened.add(worker.name)
        log.info(
            "Worker {worker} listens, its process is {pid}.",
            worker=worker.name,
            pid=worker.transport.pid,  # type: ignore[union-attr]
        )

    def workerEnded(self, worker: _Worker, reason: Failure) -> None:
        why = worker.complaint or reason.getErrorMessage()
        if self._ended is not None:
            if not self.protocols:
                self._ended.callback(None)
        elif worker.name not in self._haveListened:
            self._failed = why.removeprefix("socks5: ")
        else:
            log.error(
                "Worker {worker} has ended and is started again: {why}",
                worker=worker.name,
                why=why,
            )

    def _another(self, port: Any) -> socket.socket:
        """
        Another socket that listens on the same address.
        """
        first = port.socket
        # Not before it was bound, or the port could be another proxy's.
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        another = socket.socket(first.family, first.type)
        self._own.append(another)
        another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        another.bind(first.getsockname())
        another.listen(port.backlog)
        another.setblocking(False)
        return another


def _canBeShared(port: Any) -> bool:
    """
    Whether several sockets can have a port's address, with the kernel to choose
    one for each connection.  Those that were inherited are somebody else's.
    """
    return (
        sys.platform == "linux"
        and port.socket.family in (socket.AF_INET, socket.AF_INET6)
        and port.port is not None
    )
