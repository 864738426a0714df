"""
Tests for L{socksproxy.server.accesslog}; what a server logs when is in
L{socksproxy.test.test_server_factory}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis.strategies import binary, floats, integers, sampled_from, text
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from socksproxy.errors import RemoteProtocolError
from socksproxy.interfaces import Identity, Request
from socksproxy.relay.idle import IWatched
from socksproxy.server.accesslog import SINGLE, WINDOW, AccessLog, fieldsOf
from socksproxy.wire.address import Address, printable
from socksproxy.wire.constants import Command, ReplyCode


@implementer(IWatched)
class Moved:
    """
    The byte counts of a relay.
    """

    def __init__(self, sent: int, received: int) -> None:
        self.bytesSent = sent
        self.bytesReceived = received

    def abort(self, reason: str) -> None:
        pass


CLIENTS = (
    IPv4Address("TCP", "192.0.2.1", 1),
    IPv6Address("TCP", "2001:db8::1", 65535),
    UNIXAddress("/a b: c"),
    UNIXAddress(None),
)


class AccessLogTests(SynchronousTestCase):
    """
    Lines, and the keys that they are read from.
    """

    def setUp(self) -> None:
        self.log = AccessLog(Clock())
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def last(self) -> dict[str, Any]:
        """
        The keys of the last line, whichever event it is in.
        """
        self.log.close()
        event = self.events[-1]
        return event["events"][-1] if "events" in event else event

    @given(
        sampled_from(CLIENTS),
        text(),
        sampled_from([*Command, 0xAA]),
        binary(min_size=1, max_size=60),
        integers(0, 1 << 64),
        floats(0, 1e6),
        text(),
    )
    def test_session(
        self,
        client: Any,
        user: str,
        command: int,
        name: bytes,
        count: int,
        seconds: float,
        why: str,
    ) -> None:
        """
        Whatever a peer has chosen, each key is what it should be.
        """
        try:
            destination = Address.name(name, 80)
        except RemoteProtocolError:
            return
        request = Request(command, destination, Identity(user))
        log = AccessLog(Clock())
        line = log.connected(client, request, CLIENTS[1])
        fields = fieldsOf(line)
        self.assertEqual(
            set(fields), {"client", "user", "command", "target", "address"}
        )
        self.assertEqual(fields["user"], printable(user) or "-")
        self.assertEqual(fields["target"], str(destination))
        self.assertEqual(fields["address"], "[2001:db8::1]:65535")
        log.finished(line, Moved(count, 7), seconds, "closed: by, me")
        self.assertEqual(
            {**fields, **fieldsOf(self.events[-1]["line"])},
            {
                **fields,
                "reason": "closed: by, me",
                "sent": count,
                "received": 7,
                "seconds": round(seconds, 3),
            },
        )
        reason = printable(why).replace("\\x20", " ").strip() or "no"
        log.refused(client, request, reason, ReplyCode.NOT_ALLOWED)
        fields = fieldsOf(self.events[-1]["line"])
        self.assertEqual((fields["reason"], fields["reply"]), (reason, 2))
        self.assertNotIn("address", fields)
        log.refused(client, None, reason, None)
        fields = fieldsOf(self.events[-1]["line"])
        self.assertEqual(set(fields), {"client", "reason"})
        self.assertEqual(fields["reason"], reason)

    def test_many(self) -> None:
        """
        Lines that share an event have their keys all the same.
        """
        for number in range(SINGLE + 3):
            self.log.refused(CLIENTS[0], None, f"number {number}", None)
        self.assertEqual(self.last()["reason"], f"number {SINGLE + 2}")
        events = self.events[-1]["events"]
        self.assertEqual(len(events), 3)
        self.assertEqual([event["client"] for event in events], ["192.0.2.1:1"] * 3)

    def test_window(self) -> None:
        """
        What waits is written at the end of the window.
        """
        clock = Clock()
        log = AccessLog(clock)
        for _ in range(SINGLE + 1):
            log.refused(CLIENTS[0], None, "no", None)
        self.assertEqual(len(self.events), SINGLE)
        clock.advance(WINDOW)
        self.assertEqual(len(self.events), SINGLE + 1)

    def test_noLine(self) -> None:
        """
        A line that is none has no keys.
        """
        self.assertEqual(fieldsOf(""), {})
