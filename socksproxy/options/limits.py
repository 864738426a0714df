"""
Options for how long things may take, and how many there may be.
"""

from __future__ import annotations

from typing import Any, ClassVar

from socksproxy.options.named import named
from socksproxy.options.numbers import count, seconds
from socksproxy.server.factory import Limits

__all__ = ["LimitOptions"]

_LIMITS = Limits()


@named
class LimitOptions:
    """
    What the command line says of limits.
    """

    optParameters: ClassVar[list[list[Any]]] = [
        [
            "handshake-timeout",
            None,
            _LIMITS.handshakeTimeout,
            "Seconds from a client's connection to its request; 0 is no limit.",
            seconds,
        ],
        [
            "connect-timeout",
            None,
            _LIMITS.connectTimeout,
            "Seconds to look up and connect to a target; 0 is no limit.",
            seconds,
        ],
        [
            "bind-timeout",
            None,
            _LIMITS.bindTimeout,
            "Seconds that a BIND waits for the target to connect; 0 is no limit.",
            seconds,
        ],
        [
            "idle-timeout",
            None,
            _LIMITS.idleTimeout,
            "Seconds without a byte after which a session ends; 0 is never.",
            seconds,
        ],
        [
            "half-closed-timeout",
            None,
            _LIMITS.halfClosedTimeout,
            "The same for a session of which one side has ended already.",
            seconds,
        ],
        [
            "max-connections",
            None,
            _LIMITS.maxConnections,
            "Clients served at a time, more have to wait; 0 is no limit.",
            count,
        ],
        [
            "udp-timeout",
            None,
            _LIMITS.udpTimeout,
            "Seconds without a datagram after which an association ends; 0 is never.",
            seconds,
        ],
        [
            "udp-per-client",
            None,
            _LIMITS.udpPerClient,
            "Associations that one client, by its IP address, may have at a time; 0 is "
            "no limit.",
            count,
        ],
    ]

    def limits(self: Any, maxConnections: int) -> Limits:
        """
        @param maxConnections: this process's part of them.
        """
        return Limits(
            handshakeTimeout=self["handshake-timeout"],
            connectTimeout=self["connect-timeout"],
            bindTimeout=self["bind-timeout"],
            idleTimeout=self["idle-timeout"],
            halfClosedTimeout=self["half-closed-timeout"],
            maxConnections=maxConnections,
            udpTimeout=self["udp-timeout"],
            udpPerClient=self["udp-per-client"],
        )
