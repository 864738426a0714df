"""
Tests for L{socksproxy.relay.splice}.
"""

from __future__ import annotations

from socksproxy.relay.hub import Hub
from socksproxy.relay.splice import SpliceRelay
from socksproxy.test.relaysuite import RelaySuite, reactor


class SpliceRelayTests(RelaySuite):
    """
    L{SpliceRelay} keeps what every relay promises.
    """

    def hub(self) -> Hub | None:
        return Hub.of(reactor)

    def start(self, early: bytes = b"") -> None:
        super().start(early)
        self.assertIsInstance(self.relay, SpliceRelay)


# It is there to be subclassed.
del RelaySuite
