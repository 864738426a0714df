"""
Tests for L{socksproxy.relay.splice}.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.task import deferLater

from socksproxy.hubconnection import HubConnection
from socksproxy.relay.choice import relayBetween
from socksproxy.relay.hub import Hub
from socksproxy.relay.relay import RelayEnd
from socksproxy.relay.splice import COPY, SpliceRelay, pipes
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

    async def test_resetOfAStalledWriter(self) -> None:
        """
        A reset is passed on although bytes of the side that was reset still
        wait for the other one, which does not read.
        """
        async for source, sink in self.eachWay():
            self.start()
            silent = 0
            while silent < 50:
                silent = 0 if source.send(bytes(1 << 16)) else silent + 1
                await deferLater(reactor, 0.001)
            source.reset()
            await self.until(lambda: bool(self.reasons))
            self.assertTrue(self.reasons[0].startswith("reset by the "))
            await self.resets(sink)

    async def test_noPipeForAnIdleSession(self) -> None:
        """
        A pipe is held only while there are bytes in it.
        """
        self.start()
        for size in (COPY - 1, COPY, COPY + 1, 3 * COPY, 40 * COPY + 5, 999_999):
            data = bytes(size)
            at = 0
            while at < size:
                at += self.client.send(memoryview(data)[at:])
                await deferLater(reactor, 0)
                if at > size // 2:
                    self.target.read()
            await self.arrives(self.target, data)
            self.assertEqual(pipes.taken, 0)

    async def test_unknownToTheHub(self) -> None:
        """
        Connections that the hub does not know are relayed, be it one or the other.
        """
        hub = self.hub()
        assert hub is not None
        begin = self.begin

        def beginOne(sock: socket.socket, protocol: Any) -> Any:
            if sock is not unknown:
                return begin(sock, protocol)
            sock.setblocking(False)
            HubConnection(sock, protocol, reactor, None, ("127.0.0.1", 0)).begin()
            return protocol

        self.begin = beginOne  # type: ignore[method-assign]
        for name in ("innerClient", "innerTarget"):
            unknown = getattr(self, name)
            self.start()
            for source, sink in (
                (self.client, self.target),
                (self.target, self.client),
            ):
                source.send(b"hello")
                await self.arrives(sink, b"hello")
            await self.renew()

    async def test_targetThatIsBeingEnded(self) -> None:
        """
        A target's connection that somebody has begun to end is not taken over: its
        socket would be closed while the hub has it.
        """
        hub = self.hub()
        assert hub is not None
        for how, comes in (
            ("abortConnection", self.resets),
            ("loseConnection", self.ends),
        ):
            client = self.begin(self.innerClient, self.clientProtocol())
            target = self.begin(self.innerTarget, RelayEnd())
            getattr(target.transport, how)()
            self.relay = client.relay = relayBetween(
                client.transport, b"", False, target, self.watch, self.finished, hub
            )
            self.relay.start()
            await comes(self.client)
            await self.until(lambda: bool(self.reasons))
            self.assertEqual(len(hub), 0)
            await self.renew()

    async def over(self) -> None:
        """
        No pipe is left over, however it ended.
        """
        await super().over()
        self.assertEqual(pipes.taken, 0)


# It is there to be subclassed.
del RelaySuite
