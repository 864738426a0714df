"""
The services of C{twistd socks5}: what a person has started says what it does, and
why it cannot.
"""

from __future__ import annotations

import ipaddress
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import gatherResults
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger

from socksproxy.outbound.localend import LocalEnd
from socksproxy.server.factory import SOCKS5Factory
from socksproxy.service import IReadAgain, SOCKS5Service

if TYPE_CHECKING:
    from socksproxy.workers import Workers

__all__ = ["CannotStart", "CommandLineService", "Parent", "Worker"]

log = Logger()


class CommandLineService(SOCKS5Service):
    """
    What a person has started: it says what it does, and why it cannot.
    """

    def __init__(
        self,
        reactor: Any,
        factory: SOCKS5Factory,
        endpoints: Sequence[IStreamServerEndpoint],
        grace: float,
        isOpen: bool,
        localEnd: LocalEnd,
    ) -> None:
        """
        @param isOpen: whether everybody may use it from everywhere.
        @param localEnd: where connections to targets come from.
        """
        super().__init__(factory, endpoints, grace)
        self._reactor = reactor
        self._isOpen = isOpen
        self._localEnd = localEnd

    def privilegedStartService(self) -> None:
        _raiseDescriptorLimit()
        try:
            self._localEnd.check()
        except OSError as wrong:
            raise _cannotStart(
                f"cannot connect from {self._localEnd}: {wrong.strerror}"
            ) from None
        try:
            super().privilegedStartService()
        except Exception as wrong:
            raise _cannotStart(f"cannot listen: {wrong}") from None
        for port in self.ports:
            host = getattr(port.getHost(), "host", None)
            if not self._isOpen and not _isLocal(host):
                raise _cannotStart(
                    f"will not listen on {host} without a login: everybody "
                    "who can reach this address could use the proxy. Add a login "
                    "(--auth htpasswd:PATH, see --help-auth), listen on loopback "
                    "addresses, or insist with --open-proxy."
                )

    def startService(self) -> None:
        super().startService()
        if hasattr(signal, "SIGHUP"):
            signal.signal(
                signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.hangUp)
            )

    def stopService(self) -> Any:
        log.info("The SOCKS5 proxy stops.")
        return super().stopService()

    def hangUp(self) -> None:
        """
        SIGHUP came, which would end this process if nobody cared.
        """
        readable = [each for each in self.endpoints if IReadAgain.providedBy(each)]
        if not readable:
            log.info("SIGHUP: there is nothing that could be read again.")
        for endpoint in readable:
            endpoint.readAgain()


class Worker(CommandLineService):
    """
    One of several processes, see L{socksproxy.worker}.
    """

    def startService(self) -> None:
        from socksproxy.worker import watchParent

        super().startService()
        self._reactor.callWhenRunning(watchParent, self._reactor)


class Parent(CommandLineService):
    """
    Listens for its workers, see L{socksproxy.workers}, and serves nobody itself.
    """

    def __init__(self, *what: Any, workers: Workers) -> None:
        super().__init__(*what)
        self._workers = workers

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        try:
            self._workers.share(self.ports)
        except Exception as wrong:
            raise _cannotStart(f"cannot listen: {wrong}") from None

    def startService(self) -> None:
        super().startService()
        # The reactor heeds it only once it runs, which is when all workers listen.
        signal.signal(signal.SIGTERM, self._stopEarly)
        try:
            self._workers.startService()
        except RuntimeError as wrong:
            raise _cannotStart(f"a worker cannot start: {wrong}") from None

    def _stopEarly(self, *_: Any) -> None:
        self._workers.isHurried = True
        self._reactor.callWhenRunning(self._reactor.stop)

    def stopService(self) -> Any:
        return gatherResults([super().stopService(), self._workers.stopService()])

    def hangUp(self) -> None:
        log.info("SIGHUP: the workers are told.")
        self._workers.hangUp()


class CannotStart(Exception):
    """
    The service cannot start; the message says what to do.
    """


def _cannotStart(message: str) -> CannotStart:
    """
    What to raise so that twistd removes its pid file, tells the process that
    waits for the daemon, and ends with a status that is not zero; and with a
    line where any other exception gets a traceback.
    """
    previous = sys.excepthook

    def excepthook(
        kind: type[BaseException], wrong: BaseException, traceback: Any
    ) -> None:
        if isinstance(wrong, CannotStart):
            print(f"socks5: {wrong}", file=sys.stderr)
        else:
            previous(kind, wrong, traceback)

    sys.excepthook = excepthook
    return CannotStart(message)


def _isLocal(host: str | None) -> bool:
    """
    Whether only this machine can reach a listening address.

    @param host: L{None}: it is not an IP address but a UNIX socket's, and the
        file system says who may.
    """
    return host is None or ipaddress.ip_address(host.partition("%")[0]).is_loopback


def _raiseDescriptorLimit() -> None:
    """
    Take as many descriptors as the system gives: a session needs two.
    """
    try:
        from resource import RLIMIT_NOFILE, getrlimit, setrlimit
    except ImportError:  # pragma: no cover (there is one on Linux)
        return
    soft, hard = getrlimit(RLIMIT_NOFILE)
    if soft != hard:
        setrlimit(RLIMIT_NOFILE, (hard, hard))
