"""
Options for reaching targets through other proxies.
"""

from __future__ import annotations

from operator import methodcaller
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.python import usage

from socksproxy.interfaces import IConnector
from socksproxy.options.numbers import seconds

if TYPE_CHECKING:
    from socksproxy.outbound.hop import Hop
    from socksproxy.outbound.resolver import IResolver

from socksproxy.options.named import named

__all__ = ["ChainingOptions"]

STRATEGIES = (
    "failover",
    "round-robin",
    "random",
    "least-connections",
    "sticky-client",
    "sticky-user",
)


def _strategy(text: str) -> str:
    """
    Which of several proxies is tried first.
    """
    if text in STRATEGIES:
        return text
    raise ValueError(f"{text!r} is not one of {', '.join(STRATEGIES)}")


@named
class ChainingOptions:
    """
    What the command line says of other proxies.
    """

    optParameters: ClassVar[list[list[Any]]] = [
        [
            "via-strategy",
            None,
            "failover",
            f"Which of several proxies of one --via is tried first: "
            f"{', '.join(STRATEGIES)}. When it does not work the next one is tried.",
            _strategy,
        ],
        [
            "via-timeout",
            None,
            10.0,
            "Seconds that a proxy of --via has to be connected to, and as many until "
            "it has let us in; 0 is no limit.",
            seconds,
        ],
        [
            "via-probe",
            None,
            0.0,
            "Seconds between two looks at whether the proxies of a --via with several "
            "are there; 0 is to wait for a client that needs one.",
            seconds,
        ],
    ]

    def opt_via(self: Any, urls: str) -> None:
        """
        Reach targets through another proxy:
        socks5://[USER:PASSWORD@]HOST[:PORT], or socks5h, socks5+tls, socks4,
        socks4a, http or https instead of socks5; socks5+gssapi logs in with a
        Kerberos ticket, and encrypts all that follows. May be given several times: each
        is reached through those before it. Several URLs with commas between them
        are proxies of which one is enough, see --via-strategy. The last proxy
        resolves the names. Other users of this machine can see what is on a
        command line: --via-file keeps passwords off it.
        """
        self._addVia("--via", urls)

    def opt_via_file(self: Any, path: str) -> None:
        """
        File with a line for each --via, where it would stand on the command line;
        lines that begin with # are comments.
        """
        try:
            with open(path) as file:
                lines = [line.strip() for line in file]
        except (OSError, UnicodeDecodeError) as wrong:
            why = getattr(wrong, "strerror", None) or "it is not text"
            raise usage.UsageError(f"--via-file {path}: {why}") from None
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise usage.UsageError(f"--via-file {path}: there is no proxy in it")
        for line in found:
            self._addVia(f"--via-file {path}", line)

    def _addVia(self: Any, option: str, urls: str) -> None:
        # What few want is loaded for them alone.
        from socksproxy.outbound.hop import Hop

        try:
            hops = [Hop.parse(url.strip()) for url in urls.split(",")]
            for hop in hops:
                if hop.isTLS:
                    _checkTLS(hop)
                if hop.wantsTicket:
                    _checkGSSAPI()
        except ValueError as wrong:
            raise usage.UsageError(f"{option}: {wrong}") from None
        self.setdefault("via", []).append(hops)

    def connectorThrough(
        self: Any, reactor: Any, direct: IConnector, resolver: IResolver, serves: bool
    ) -> IConnector:
        """
        @param direct: leads to the first proxy.
        @param resolver: for proxies that do not resolve names.
        @param serves: whether it is this process that has clients.
        @return: C{direct} itself where there is no proxy.
        """
        via = self.get("via", [])
        return self._through(via, reactor, direct, resolver, serves) if via else direct

    def _through(
        self: Any,
        via: list[list[Hop]],
        reactor: Any,
        inner: IConnector,
        resolver: IResolver,
        serves: bool,
    ) -> IConnector:
        """
        Alternatives are whole ways, to the last proxy: whichever fails on one of
        them, the next way is tried.
        """
        from socksproxy.outbound.chain import ChainConnector
        from socksproxy.outbound.pool import Member, PoolConnector, Strategy

        hops, rest = via[0], via[1:]
        isFirst = not isinstance(inner, ChainConnector)
        ways: list[IConnector] = []
        for hop in hops:
            way: IConnector = ChainConnector(
                reactor, hop, inner, resolver, self["via-timeout"], isFirst
            )
            if rest:
                way = self._through(rest, reactor, way, resolver, serves)
            ways.append(way)
        if len(ways) == 1:
            return ways[0]
        members = [Member(way, str(hop)) for way, hop in zip(ways, hops, strict=True)]
        pool = PoolConnector(reactor, members, Strategy(self["via-strategy"]))
        if self["via-probe"] and serves:
            pool.startProbing(self["via-probe"], methodcaller("probe"))
            reactor.addSystemEventTrigger("before", "shutdown", pool.stopProbing)
        return pool


def _checkTLS(hop: Hop) -> None:
    """
    @raise ValueError: there is no TLS here, or none to C{hop}.
    """
    try:
        hop.tlsOptions()
    except ImportError as wrong:
        raise ValueError(
            f"{wrong.name} is not installed: pip install 'socksproxy[tls]'"
        ) from None


def _checkGSSAPI() -> None:
    """
    @raise ValueError: there is no GSSAPI here.
    """
    try:
        from socksproxy.client import GSSAPILogin  # noqa: F401
    except ImportError as wrong:
        raise ValueError(str(wrong)) from None
