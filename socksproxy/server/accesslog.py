"""
What the operator is told of sessions: one line when one starts to relay, one
when that is over, one for a client that was refused.
"""

from __future__ import annotations

import os

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from socksproxy.interfaces import Identity, Request
from socksproxy.relay.idle import IWatched
from socksproxy.wire.address import printable
from socksproxy.wire.constants import Command, ReplyCode

__all__ = ["AccessLog"]

log = Logger()


class AccessLog:
    """
    Writes to L{twisted.logger}.  The keys of the events are part of the
    interface: C{client}, C{user}, C{command}, C{target}, C{address}, C{sent},
    C{received}, C{seconds}, C{reason}, C{reply}.  Nothing that a peer chose
    gets into a line unescaped.
    """

    def connected(self, client: IAddress, request: Request, address: IAddress) -> None:
        """
        A session starts to relay.

        @param address: what was dialled.
        """
        log.info(
            "{client} {user} {command} {target} via {address}",
            client=_text(client),
            user=_user(request.identity),
            command=_command(request),
            target=request.destination,
            address=_text(address),
        )

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
        log.info(
            "{client} {user} {command} {target} via {address}: {reason}, "
            "{sent} bytes sent, {received} received in {seconds:.3f} s",
            client=_text(client),
            user=_user(request.identity),
            command=_command(request),
            target=request.destination,
            address=_text(address),
            sent=relay.bytesSent,
            received=relay.bytesReceived,
            seconds=seconds,
            reason=reason,
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
        if request is None or reply is None:
            log.info(
                "{client} refused: {reason}", client=_text(client), reason=_safe(reason)
            )
        else:
            log.info(
                "{client} {user} {command} {target} refused: {reason} "
                "(reply {reply:02x})",
                client=_text(client),
                user=_user(request.identity),
                command=_command(request),
                target=request.destination,
                reason=_safe(reason),
                reply=int(reply),
            )


def _safe(reason: str) -> str:
    """
    A reason, which may quote what a library has said.
    """
    return reason if reason.isprintable() else printable(reason)


def _text(address: IAddress) -> str:
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    name = getattr(address, "name", None)
    return f"unix:{printable(os.fsdecode(name or '-'))}"


def _user(identity: Identity) -> str:
    return printable(identity.name) or "-"


def _command(request: Request) -> str:
    if isinstance(request.command, Command):
        return request.command.name
    return f"{request.command:#04x}"
