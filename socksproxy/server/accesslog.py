"""
What the operator is told of sessions: one line when one starts to relay, one
when that is over, one for a client that was refused.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.logger import Logger

from socksproxy.interfaces import Request
from socksproxy.relay.idle import IWatched
from socksproxy.wire.address import printable
from socksproxy.wire.constants import Command, ReplyCode

__all__ = ["AccessLog", "Entry", "addressText"]

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


class Entry(NamedTuple):
    """
    What the lines of one session have in common.
    """

    client: str
    user: str
    command: str
    target: str
    address: str


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
        self._waiting: list[tuple[str, Fields]] = []
        self._call: IDelayedCall | None = None

    def connected(self, client: str, request: Request, address: str) -> Entry:
        """
        A session starts to relay.

        @param client: as from L{addressText}.
        @param address: what was dialled, likewise.
        @return: what L{finished} will want.
        """
        user, command, target = _requested(request)
        if address == target:
            address = target  # One string is enough to keep.
        self._write(
            f"{client} {user} {command} {target} via {address}",
            {
                "client": client,
                "user": user,
                "command": command,
                "target": target,
                "address": address,
            },
        )
        return Entry(client, user, command, target, address)

    def finished(
        self, entry: Entry, relay: IWatched, seconds: float, reason: str
    ) -> None:
        """
        It is over.
        """
        client, user, command, target, address = entry
        sent, received = relay.bytesSent, relay.bytesReceived
        self._write(
            f"{client} {user} {command} {target} via {address}: {reason}, "
            f"{sent} bytes sent, {received} received in {seconds:.3f} s",
            {
                "client": client,
                "user": user,
                "command": command,
                "target": target,
                "address": address,
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
            self._write(
                f"{client} refused: {reason}", {"client": client, "reason": reason}
            )
        else:
            user, command, target = _requested(request)
            code = int(reply)
            self._write(
                f"{client} {user} {command} {target} refused: {reason} "
                f"(reply {code:02x})",
                {
                    "client": client,
                    "user": user,
                    "command": command,
                    "target": target,
                    "reason": reason,
                    "reply": code,
                },
            )

    def close(self) -> None:
        """
        Write what waits.
        """
        if self._call is not None:
            self._call.cancel()
            self._flush()

    def _write(self, line: str, fields: Fields) -> None:
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


def _requested(request: Request) -> tuple[str, str, str]:
    """
    User, command and target.
    """
    return (
        printable(request.identity.name) or "-",
        _COMMANDS.get(request.command) or f"{request.command:#04x}",
        str(request.destination),
    )


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
