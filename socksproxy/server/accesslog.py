"""
What the operator is told of sessions: one line when one starts to relay, one
when that is over, one for a client that was refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.logger import Logger

from socksproxy.interfaces import Request
from socksproxy.relay.datagrams import DatagramRelay
from socksproxy.relay.idle import IWatched
from socksproxy.wire.address import printable
from socksproxy.wire.constants import Command, ReplyCode

__all__ = ["AccessLog", "addressText"]

log = Logger()

_COMMANDS = {int(command): command.name for command in Command}

WINDOW = 0.1
SINGLE = 16
"""
So many lines are events of their own in a window of so many seconds; what comes
beyond that in the window is one event, at its end.  An event costs ten times
what a line costs.
"""

Fields = dict[str, Any]
"""
The keys of an event.
"""

Line = tuple[str, Fields]
"""
What is written, and the keys of its event.
"""


class AccessLog:
    """
    Writes to L{twisted.logger}.  The keys of the events are part of the
    interface: C{client}, C{user}, C{command}, C{target}, C{address}, C{sent},
    C{received}, C{seconds}, C{reason}, C{reply}, and for an association
    C{datagramsSent}, C{datagramsReceived} and C{dropped}.  Nothing that a peer
    chose gets into a line unescaped.

    When there are very many lines, some share an event, whose C{events} is a
    list of such dictionaries; each still has a line of its own.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._windowEnd = 0.0
        self._count = 0
        # To be made when they are written, which is cheaper for many at a time.
        self._waiting: list[tuple[Callable[..., Line], tuple[Any, ...]]] = []
        self._call: IDelayedCall | None = None

    def connected(self, client: IAddress, request: Request, address: IAddress) -> None:
        """
        A session starts to relay.

        @param address: what was dialled.
        """
        self._write(_connected, client, request, address)

    def finished(
        self,
        client: IAddress,
        request: Request,
        address: IAddress,
        relay: IWatched,
        seconds: float,
        reason: str,
    ) -> None:
        """
        It is over.
        """
        sent, received = relay.bytesSent, relay.bytesReceived
        if isinstance(relay, DatagramRelay):
            counts = (relay.datagramsSent, relay.datagramsReceived, relay.dropped)
            self._write(
                *(_dissociated, client, request, address, sent, received),
                *(seconds, reason, *counts),
            )
            return
        self._write(
            _finished, client, request, address, sent, received, seconds, reason
        )

    def refused(
        self,
        client: IAddress,
        request: Request | None,
        reason: str,
        reply: ReplyCode | None,
    ) -> None:
        """
        A client did not get what it wanted.

        @param request: L{None}: it did not come to that.
        @param reply: what its request was answered with.
        """
        self._write(_refused, client, request, reason, reply)

    def close(self) -> None:
        """
        Write what waits.
        """
        if self._call is not None:
            self._call.cancel()
            self._flush()

    def _write(self, form: Callable[..., Line], *values: Any) -> None:
        if self._waiting:
            self._waiting.append((form, values))
            return
        now = self._clock.seconds()
        if now >= self._windowEnd:
            self._windowEnd = now + WINDOW
            self._count = 0
        self._count += 1
        if self._count <= SINGLE:
            _log(form(*values))
        else:
            self._waiting.append((form, values))
            self._call = self._clock.callLater(self._windowEnd - now, self._flush)

    def _flush(self) -> None:
        self._call = None
        waiting, self._waiting = self._waiting, []
        lines = [form(*values) for form, values in waiting]
        if len(lines) == 1:
            _log(lines[0])
        else:
            log.info(
                "{lines}",
                lines="\n".join([line for line, _ in lines]),
                events=[fields for _, fields in lines],
            )


def _log(line: Line) -> None:
    log.info("{line}", line=line[0], **line[1])


def _connected(client: IAddress, request: Request, address: IAddress) -> Line:
    line, fields = _requested(client, request)
    fields["address"] = dialled = addressText(address)
    return f"{line} via {dialled}", fields


def _finished(
    client: IAddress,
    request: Request,
    address: IAddress,
    sent: int,
    received: int,
    seconds: float,
    reason: str,
) -> Line:
    line, fields = _connected(client, request, address)
    fields["sent"] = sent
    fields["received"] = received
    fields["seconds"] = seconds
    fields["reason"] = reason
    return (
        f"{line}: {reason}, {sent} bytes sent, {received} received in {seconds:.3f} s",
        fields,
    )


def _dissociated(
    client: IAddress,
    request: Request,
    address: IAddress,
    sent: int,
    received: int,
    seconds: float,
    reason: str,
    datagramsSent: int,
    datagramsReceived: int,
    dropped: int,
) -> Line:
    line, fields = _finished(client, request, address, sent, received, seconds, reason)
    fields["datagramsSent"] = datagramsSent
    fields["datagramsReceived"] = datagramsReceived
    fields["dropped"] = dropped
    return (
        f"{line}, {datagramsSent} datagrams sent, {datagramsReceived} received, "
        f"{dropped} dropped",
        fields,
    )


def _refused(
    client: IAddress, request: Request | None, reason: str, reply: ReplyCode | None
) -> Line:
    # It may quote what a library has said.
    if not reason.isprintable():
        reason = printable(reason)
    if request is None or reply is None:
        who = addressText(client)
        return f"{who} refused: {reason}", {"client": who, "reason": reason}
    line, fields = _requested(client, request)
    fields["reason"] = reason
    fields["reply"] = code = int(reply)
    return f"{line} refused: {reason} (reply {code:02x})", fields


def _requested(client: IAddress, request: Request) -> Line:
    who = addressText(client)
    user = printable(request.identity.name) or "-"
    command = _COMMANDS.get(request.command) or f"{request.command:#04x}"
    target = str(request.destination)
    return f"{who} {user} {command} {target}", {
        "client": who,
        "user": user,
        "command": command,
        "target": target,
    }


def addressText(address: IAddress) -> str:
    """
    Where a connection comes from, or goes to.
    """
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    name = getattr(address, "name", None)
    return f"unix:{printable(os.fsdecode(name or '-'))}"
