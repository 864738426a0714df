"""
Tests for L{socksproxy.relay.relay}.
"""

from __future__ import annotations

from collections.abc import Callable

from socksproxy.relay.idle import IdleWatch
from socksproxy.relay.relay import ProtocolRelay, RelayEnd
from socksproxy.test.relaysuite import RelaySuite


class ProtocolRelayTests(RelaySuite):
    """
    L{ProtocolRelay} keeps what every relay promises.
    """

    def relayBetween(
        self,
        client: RelayEnd,
        target: RelayEnd,
        watch: IdleWatch,
        finished: Callable[[str], object],
    ) -> ProtocolRelay:
        return ProtocolRelay(client, target, watch, finished)


# It is there to be subclassed.
del RelaySuite
