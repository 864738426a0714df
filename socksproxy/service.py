"""
A server as a service: it listens, and ends its sessions before it stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    gatherResults,
    maybeDeferred,
)
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface

from socksproxy.server.factory import SOCKS5Factory

__all__ = ["IReadAgain", "SOCKS5Service"]

log = Logger()


class IReadAgain(Interface):
    """
    An endpoint made of files.
    """

    def readAgain() -> None:
        """
        They may have changed.  It never raises: what cannot be used is logged,
        and all stays as it was.
        """


class SOCKS5Service(Service):
    """
    Listens on endpoints while it runs.

    @ivar factory: the server.
    @ivar endpoints: where it listens.
    @ivar grace: how many seconds sessions have to end by themselves when the
        service stops.
    @ivar ports: what it listens on right now.
    """

    def __init__(
        self,
        factory: SOCKS5Factory,
        endpoints: Sequence[IStreamServerEndpoint],
        grace: float = 5.0,
    ) -> None:
        self.factory = factory
        self.endpoints = list(endpoints)
        self.grace = grace
        self.ports: list[IListeningPort] = []
        self._listening: list[Deferred[Any]] = []

    def privilegedStartService(self) -> None:
        """
        Start to listen, while it may still be allowed to use low ports.

        @raise Exception: what an endpoint failed with.  Those that listen
            already go on until L{stopService}.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        failures: list[Failure] = []
        starting = True

        def failed(failure: Failure) -> None:
            if starting:
                failures.append(failure)
            elif not failure.check(CancelledError):
                log.failure("An endpoint cannot be listened on.", failure)

        self._listening = [
            endpoint.listen(self.factory).addCallbacks(self._listens, failed)
            for endpoint in self.endpoints
        ]
        starting = False
        if failures:
            failures[0].raiseException()

    def startService(self) -> None:
        """
        Start to listen, unless that was done while privileged.
        """
        super().startService()  # type: ignore[no-untyped-call]
        if not self._listening:
            self.privilegedStartService()

    def stopService(self) -> Deferred[None]:
        """
        Stop to listen, let the sessions end, and end what is left after the
        grace period.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        for listening in self._listening:
            listening.cancel()
        self._listening = []
        ports, self.ports = self.ports, []
        self.factory.admission.notListening()
        count = len(self.factory.admission)
        if count:
            log.info(
                "Stopping: {count} clients have {grace:g} s to come to an end.",
                count=count,
                grace=self.grace,
            )
        ended: list[Deferred[Any]] = [
            maybeDeferred(port.stopListening) for port in ports
        ]
        ended.append(self.factory.drain(self.grace))
        return gatherResults(ended).addCallback(lambda _: None)

    def _listens(self, port: IListeningPort) -> None:
        self.ports.append(port)
        self.factory.listening(port)
