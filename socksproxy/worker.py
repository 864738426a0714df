"""
One worker of C{twistd socks5 --workers}: what it has from its parent, and what
it tells it.

A worker is a C{twistd} of its own with its parent's options.  It starts with

 - descriptor 0: a pipe that nobody writes to; when it ends the parent is gone;
 - descriptor 1: a pipe for its log, a line for each event, and an empty line once
   it listens;
 - descriptor 2: a pipe for what goes wrong before there is a log;
 - as many descriptors as systemd has passed on, so that endpoints which count
   them find them;
 - the listening sockets, in the order of the options.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Mapping
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReadDescriptor,
)
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

__all__ = [
    "NUMBER",
    "InheritingReactor",
    "ParentsLog",
    "SharedSocket",
    "countFromSystemd",
    "descriptorOf",
    "share",
    "watchParent",
]

NUMBER = "SOCKSPROXY_WORKER"
"""
The environment's variable that makes a process a worker: its number, from 1.
"""


def countFromSystemd(environ: Mapping[str, str]) -> int:
    """
    How many descriptors systemd has passed on, from 3 on.
    """
    names = environ.get("LISTEN_FDNAMES")
    return len(names.split(":")) if names else 0


def descriptorOf(index: int) -> int:
    """
    What a worker has inherited for the endpoint of that number, from 0.
    """
    return 3 + countFromSystemd(os.environ) + index


def share(total: int, count: int, number: int) -> int:
    """
    The part of worker C{number} of a limit for all C{count}.

    @param total: 0 is no limit.
    """
    return max(1, (total + count - number) // count) if total else 0


class InheritingReactor:
    """
    The reactor as one endpoint sees it: wherever that wants to listen, it
    listens on what the parent has opened for it.
    """

    def __init__(self, reactor: Any, descriptor: int) -> None:
        """
        @param descriptor: as from L{descriptorOf}.
        """
        self._reactor = reactor
        self._descriptor = descriptor
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(
        self, port: int, factory: IProtocolFactory, *args: Any, **kwargs: Any
    ) -> IListeningPort:
        return self._adopt(factory)

    def listenUNIX(
        self, address: str, factory: IProtocolFactory, *args: Any, **kwargs: Any
    ) -> IListeningPort:
        return self._adopt(factory)

    def listenSSL(
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: Any,
        *args: Any,
        **kwargs: Any,
    ) -> IListeningPort:
        from twisted.protocols.tls import TLSMemoryBIOFactory

        return self._adopt(TLSMemoryBIOFactory(contextFactory, False, factory))

    def adoptStreamPort(
        self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory
    ) -> IListeningPort:
        return self._adopt(factory)

    def _adopt(self, factory: IProtocolFactory) -> IListeningPort:
        listening = SharedSocket(fileno=self._descriptor)
        if listening.family == socket.AF_UNIX:
            port = _UNIXPort(listening, factory, self._reactor)
            port.startListening()
            return port
        with listening:
            return self._reactor.adoptStreamPort(  # type: ignore[no-any-return]
                listening.fileno(), listening.family, factory
            )


class SharedSocket(socket.socket):
    """
    A listening socket that goes on to listen when one of those who have it has
    closed it.
    """

    def shutdown(self, how: int) -> None:
        pass


class _UNIXPort(unix.Port):
    """
    A UNIX socket whose file is the parent's: C{adoptStreamPort} would set the
    file's mode, and remove it in the end.
    """

    def __init__(
        self, listening: socket.socket, factory: IProtocolFactory, reactor: Any
    ) -> None:
        name = os.fsencode(listening.getsockname())
        super().__init__(name, factory, reactor=reactor)
        self.socket = listening

    def startListening(self) -> None:
        self.factory.doStart()  # type: ignore[union-attr]
        self.connected = True
        self.fileno = self.socket.fileno  # type: ignore[method-assign]
        self.numberAccepts = 100
        self.startReading()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:
        tcp.Port.connectionLost(self, reason)


@implementer(ILogObserver)
class ParentsLog:
    """
    Passes the log on to the parent.  A line is the event's level, its system as
    it is shown, and its text.
    """

    def __init__(self, descriptor: int = 1) -> None:
        self._lines = open(descriptor, "wb", closefd=False)  # noqa: SIM115

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info).name
        system = event.get("log_system") or f"{event.get('log_namespace')}#{level}"
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        if text:
            self._write(json.dumps((level, system, text)).encode("ascii"))

    def _write(self, line: bytes) -> None:
        try:
            self._lines.write(line + b"\n")
            self._lines.flush()
        except OSError:
            pass  # The parent is gone, and this process will be soon.


@implementer(IReadDescriptor)
class _Parent:
    """
    The pipe that ends with the parent.
    """

    def __init__(self, stop: Any) -> None:
        self._stop = stop

    def fileno(self) -> int:
        return 0

    def logPrefix(self) -> str:
        return "parent"

    def doRead(self) -> Exception:  # type: ignore[override]
        return CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:
        self._stop()


def watchParent(reactor: Any) -> None:
    """
    Tell the parent that this worker listens, and stop when it is gone or says
    so.  The reactor runs.
    """

    def stop() -> None:
        try:
            reactor.stop()
        except ReactorNotRunning:
            pass

    # A terminal and systemd tell all processes to stop, and so does the parent:
    # told twice a reactor would complain.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: reactor.callFromThread(stop))
    reactor.addReader(_Parent(stop))
    os.write(1, b"\n")
