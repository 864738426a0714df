"""
Tests for L{socksproxy.relay.relay}.
"""

from __future__ import annotations

from socksproxy.relay.relay import ProtocolRelay
from socksproxy.test.relaysuite import RelaySuite


class ProtocolRelayTests(RelaySuite):
    """
    L{ProtocolRelay} keeps what every relay promises.
    """

    def start(self, early: bytes = b"") -> None:
        super().start(early)
        self.assertIsInstance(self.relay, ProtocolRelay)


# It is there to be subclassed.
del RelaySuite
