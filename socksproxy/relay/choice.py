"""
Which relay serves which two connections: the one place that knows.
"""

from __future__ import annotations

from collections.abc import Callable

from socksproxy.relay.idle import IdleWatch
from socksproxy.relay.relay import ProtocolRelay, RelayEnd

__all__ = ["relayBetween"]


def relayBetween(
    client: RelayEnd,
    target: RelayEnd,
    watch: IdleWatch,
    finished: Callable[[str], object],
) -> ProtocolRelay:
    """
    @param finished: called once, when both connections are gone, with the
        reason in words for the log.
    @return: a relay that has not started yet.
    """
    return ProtocolRelay(client, target, watch, finished)
