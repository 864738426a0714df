"""
Tests for L{socksproxy.relay.splice}.
"""

from __future__ import annotations

from socksproxy.relay.hub import Hub
from socksproxy.relay.splice import SpliceRelay, pipes
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

    async def over(self) -> None:
        """
        No pipe is left over, however it ended.
        """
        await super().over()
        self.assertEqual(pipes.taken, 0)


# It is there to be subclassed.
del RelaySuite
