"""
What the operator is told of sessions: one line when one starts to relay, one
when that is over, one for a client that was refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.logger import Logger

from socksproxy.interfaces import Request
from socksproxy.relay.datagrams import DatagramRelay
from socksproxy.relay.idle import IWatched
from socksproxy.wire.address import Address, printable
from socksproxy.wire.constants import Command, ReplyCode

__all__ = ["AccessLog", "addressText", "fieldsOf"]

log = Logger()

_COMMANDS = {int(command): command.name for command in Command}

WINDOW = 0.1
SINGLE = 16
"""
So many lines are events of their own in a window of so many seconds; what comes
beyond that in the window is one event, at its end.  An event costs ten times
what a line costs.
"""

_LINE = re.compile(
    r"(?P<client>\S+)"
    r"(?: (?P<user>\S+) (?P<command>\S+) (?P<target>\S+)(?= via | refused: ))?"
    r"(?: via (?P<address>\S+?)"
    r"(?:: (?P<ended>.*), (?P<sent>\d+) bytes sent, (?P<received>\d+) received"
    r" in (?P<seconds>[0-9.]+) s(?:, (?P<datagramsSent>\d+) datagrams sent,"
    r" (?P<datagramsReceived>\d+) received, (?P<dropped>\d+) dropped)?)?"
    r"| refused: (?P<reason>.*?)(?: \(reply (?P<reply>[0-9a-f]{2})\))?)",
    re.DOTALL,
)


_COUNTS = {"sent", "received", "datagramsSent", "datagramsReceived", "dropped"}


def fieldsOf(line: str) -> dict[str, Any]:
    """
    The keys of an event, from its line: no field has a space in it but the
    reason, which has the rest.
    """
    found = _LINE.fullmatch(line)
    groups = {} if found is None else found.groupdict()
    fields: dict[str, Any] = {key: text for key, text in groups.items() if text}
    if "ended" in fields:
        fields["reason"] = fields.pop("ended")
        fields["seconds"] = float(fields["seconds"])
    for count in _COUNTS & fields.keys():
        fields[count] = int(fields[count])
    if "reply" in fields:
        fields["reply"] = int(fields["reply"], 16)
    return fields


class _Events(Sequence[dict[str, Any]]):
    """
    The keys of several lines, for whoever asks for them.
    """

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: Any) -> Any:
        return fieldsOf(self._lines[index])


class AccessLog:
    """
    Writes to L{twisted.logger}.  The keys of the events are part of the
    interface: C{client}, C{user}, C{command}, C{target}, C{address}, C{sent},
    C{received}, C{seconds}, C{reason}, C{reply}, and for an association
    C{datagramsSent}, C{datagramsReceived} and C{dropped}.  Nothing that a peer
    chose gets into a line unescaped.

    When there are very many lines, some share an event, whose C{events} is a
    sequence of such dictionaries; each still has a line of its own.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._windowEnd = 0.0
        self._count = 0
        self._waiting: list[str] = []
        self._call: IDelayedCall | None = None

    def connected(self, client: IAddress, request: Request, address: IAddress) -> str:
        """
        A session starts to relay.

        @param address: what was dialled.
        @return: what L{finished} will want.
        """
        line = f"{_requested(client, request)} via {addressText(address)}"
        self._write(line)
        return line

    def answered(self, client: IAddress, request: Request, answer: Address) -> None:
        """
        A client was told what a name or an address stands for, and that was all.
        """
        self._write(f"{_requested(client, request)} via {answer}")

    def finished(
        self, connected: str, relay: IWatched, seconds: float, reason: str
    ) -> None:
        """
        It is over.
        """
        line = (
            f"{connected}: {reason}, {relay.bytesSent} bytes sent, "
            f"{relay.bytesReceived} received in {seconds:.3f} s"
        )
        if isinstance(relay, DatagramRelay):
            line += (
                f", {relay.datagramsSent} datagrams sent, "
                f"{relay.datagramsReceived} received, {relay.dropped} dropped"
            )
        self._write(line)

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
        # It may quote what a library has said.
        if not reason.isprintable():
            reason = printable(reason)
        if request is None:
            self._write(f"{addressText(client)} refused: {reason}")
            return
        code = "" if reply is None else f" (reply {int(reply):02x})"
        self._write(f"{_requested(client, request)} refused: {reason}{code}")

    def close(self) -> None:
        """
        Write what waits.
        """
        if self._call is not None:
            self._call.cancel()
            self._flush()

    def _write(self, line: str) -> None:
        if self._waiting:
            self._waiting.append(line)
            return
        now = self._clock.seconds()
        if now >= self._windowEnd:
            self._windowEnd = now + WINDOW
            self._count = 0
        self._count += 1
        if self._count <= SINGLE:
            _log(line)
        else:
            self._waiting.append(line)
            self._call = self._clock.callLater(self._windowEnd - now, self._flush)

    def _flush(self) -> None:
        self._call = None
        lines, self._waiting = self._waiting, []
        if len(lines) > SINGLE:
            # It will go on like this: in the next window none is single.
            self._windowEnd = self._clock.seconds() + WINDOW
            self._count = SINGLE
        if len(lines) == 1:
            _log(lines[0])
        else:
            log.info("{lines}", lines="\n".join(lines), events=_Events(lines))


def _log(line: str) -> None:
    log.info("{line}", line=line, **fieldsOf(line))


def _requested(client: IAddress, request: Request) -> str:
    name = request.identity.name
    user = printable(name) if name else "-"
    command = _COMMANDS.get(request.command) or f"{request.command:#04x}"
    return f"{addressText(client)} {user} {command} {request.destination}"


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
