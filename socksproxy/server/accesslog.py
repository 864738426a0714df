"""
What the operator is told of sessions: one line when one starts to relay, one
when that is over, one for a client that was refused.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.logger import Logger

from socksproxy.interfaces import Request
from socksproxy.relay.idle import IWatched
from socksproxy.wire.address import printable
from socksproxy.wire.constants import Command, ReplyCode

__all__ = ["AccessLog", "Logged", "addressText"]

log = Logger()

_COMMANDS = {int(command): command.name for command in Command}

WINDOW = 0.1
SINGLE = 16
"""
So many lines are events of their own in a window of so many seconds; what comes
beyond that in the window is one event, at its end.  An event costs ten times
what a line costs.
"""

Logged = tuple[str, dict[str, Any]]
"""
A line, and the keys of its event.
"""


class AccessLog:
    """
    Writes to L{twisted.logger}.  The keys of the events are part of the
    interface: C{client}, C{user}, C{command}, C{target}, C{address}, C{sent},
    C{received}, C{seconds}, C{reason}, C{reply}.  Nothing that a peer chose
    gets into a line unescaped.

    When there are very many lines, some share an event, whose C{events} is a
    list of such dictionaries; each still has a line of its own.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._windowEnd = 0.0
        self._count = 0
        self._waiting: list[Logged] = []
        self._call: IDelayedCall | None = None

    def connected(self, client: str, request: Request, address: str) -> Logged:
        """
        A session starts to relay.

        @param client: as from L{addressText}.
        @param address: what was dialled, likewise.
        @return: what L{finished} will want.
        """
        line, fields = _requested(client, request)
        line = f"{line} via {address}"
        fields["address"] = address
        self._write(line, fields)
        return line, fields

    def finished(
        self, connected: Logged, relay: IWatched, seconds: float, reason: str
    ) -> None:
        """
        It is over.
        """
        line, fields = connected
        sent, received = relay.bytesSent, relay.bytesReceived
        self._write(
            f"{line}: {reason}, {sent} bytes sent, {received} received "
            f"in {seconds:.3f} s",
            {
                **fields,
                "sent": sent,
                "received": received,
                "seconds": seconds,
                "reason": reason,
            },
        )

    def refused(
        self,
        client: str,
        request: Request | None,
        reason: str,
        reply: ReplyCode | None,
    ) -> None:
        """
        A client did not get what it wanted.

        @param request: L{None}: it did not come to that.
        @param reply: what its request was answered with.
        """
        # It may quote what a library has said.
        if not reason.isprintable():
            reason = printable(reason)
        if request is None or reply is None:
            fields: dict[str, Any] = {"client": client, "reason": reason}
            self._write(f"{client} refused: {reason}", fields)
        else:
            line, fields = _requested(client, request)
            fields["reason"] = reason
            fields["reply"] = int(reply)
            self._write(f"{line} refused: {reason} (reply {reply:02x})", fields)

    def close(self) -> None:
        """
        Write what waits.
        """
        if self._call is not None:
            self._call.cancel()
            self._flush()

    def _write(self, line: str, fields: dict[str, Any]) -> None:
        if self._waiting:
            self._waiting.append((line, fields))
            return
        now = self._clock.seconds()
        if now >= self._windowEnd:
            self._windowEnd = now + WINDOW
            self._count = 0
        self._count += 1
        if self._count <= SINGLE:
            log.info("{line}", line=line, **fields)
        else:
            self._waiting.append((line, fields))
            self._call = self._clock.callLater(self._windowEnd - now, self._flush)

    def _flush(self) -> None:
        self._call = None
        waiting, self._waiting = self._waiting, []
        if len(waiting) == 1:
            line, fields = waiting[0]
            log.info("{line}", line=line, **fields)
        else:
            log.info(
                "{lines}",
                lines="\n".join([line for line, _ in waiting]),
                events=[fields for _, fields in waiting],
            )


def _requested(client: str, request: Request) -> Logged:
    user = printable(request.identity.name) or "-"
    command = _COMMANDS.get(request.command) or f"{request.command:#04x}"
    target = str(request.destination)
    return f"{client} {user} {command} {target}", {
        "client": client,
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
