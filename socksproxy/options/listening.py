"""
Options for where to listen.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.endpoints import quoteStringArgument

from socksproxy.options.named import named
from socksproxy.options.numbers import portNumber

__all__ = ["ListeningOptions"]

DEFAULT_PORT = 1080
DEFAULT_INTERFACE = "127.0.0.1"

BACKLOG = 1024
"""
Clients that may wait to be accepted.  One too many for the kernel to keep
tries again after a second.
"""


@named
class ListeningOptions:
    """
    What the command line says of listeners.
    """

    optFlags: ClassVar[list[list[Any]]] = [
        [
            "open-proxy",
            None,
            "Listen on addresses that are not loopback although nobody needs a login: "
            "whoever can reach them can use this proxy to reach all that this "
            "machine can reach.",
        ],
    ]
    optParameters: ClassVar[list[list[Any]]] = [
        [
            "port",
            "p",
            None,
            f"TCP port to listen on [default: {DEFAULT_PORT}].",
            portNumber,
        ],
        [
            "interface",
            "i",
            None,
            f"Address to listen on [default: {DEFAULT_INTERFACE}].",
        ],
    ]

    def opt_listen(self: Any, description: str) -> None:
        """
        A Twisted server endpoint to listen on, like tcp6:1080:interface=\\:\\:1,
        unix:/run/socks.sock, tls:1443:privateKey=key.pem:certKey=cert.pem or
        systemd:domain=INET:index=0. May be given several times. Then --port and
        --interface count only if they are given too.
        """
        self.setdefault("listen", []).append(description)

    opt_l = opt_listen

    def descriptions(self: Any) -> list[str]:
        """
        What to listen on, as descriptions of Twisted server endpoints.
        """
        port, interface = self["port"], self["interface"]
        found = list(self.get("listen", []))
        if not found or port is not None or interface is not None:
            port = DEFAULT_PORT if port is None else port
            interface = DEFAULT_INTERFACE if interface is None else interface
            scheme = "tcp6" if ":" in interface else "tcp"
            found.insert(
                0,
                f"{scheme}:{port}:interface={quoteStringArgument(interface)}"
                f":backlog={BACKLOG}",
            )
        return found
