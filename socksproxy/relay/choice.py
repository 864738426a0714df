"""
Which relay serves which two connections: the one place that knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection

from socksproxy.relay.hub import Hub
from socksproxy.relay.idle import IdleWatch
from socksproxy.relay.relay import ProtocolRelay, RelayEnd
from socksproxy.relay.splice import SpliceRelay

__all__ = ["isPlain", "relayBetween"]


def isPlain(transport: ITransport | None) -> bool:
    """
    Whether C{transport} is a stream socket and nothing more: what is sent to
    the socket is what the peer receives, and nobody has begun to end it, which
    closes the socket by itself.
    """
    return isinstance(transport, Connection) and not (
        transport.TLS or transport.disconnecting or transport._aborting
    )


def relayBetween(
    transport: Any,
    early: bytes,
    ended: bool,
    target: RelayEnd,
    watch: IdleWatch,
    finished: Callable[[str], object],
    hub: Hub | None = None,
) -> ProtocolRelay | SpliceRelay:
    """
    @param transport: the client's; its protocol hands what it is told to the
        relay's C{client}.
    @param early: what the client has sent already.
    @param ended: whether it has ended its side, too.
    @param finished: called once, when both connections are gone, with the
        reason in words for the log.
    @param hub: L{None}: there is none, or C{transport} may still have
        something to write.
    @return: a relay that has not started yet.
    """
    if hub is not None and target.lost is None and isPlain(target.transport):
        # The EOF that was read will be read again.
        return SpliceRelay(hub, transport, early, target, watch, finished)
    client = RelayEnd()
    client.makeConnection(transport)  # type: ignore[no-untyped-call]
    if early:
        client.dataReceived(early)
    if ended:
        client.readConnectionLost()
    return ProtocolRelay(client, target, watch, finished)
