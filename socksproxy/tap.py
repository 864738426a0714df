"""
C{twistd socks5}: the options, and the only place that chooses defaults.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, NoReturn

from twisted.application.service import IService
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.python import usage

from socksproxy import __version__
from socksproxy.command import CommandLineService, Parent, Worker
from socksproxy.options.chaining import ChainingOptions
from socksproxy.options.dialects import DialectOptions
from socksproxy.options.gssapi import GSSAPIOptions
from socksproxy.options.logins import LoginOptions
from socksproxy.options.numbers import count as _count
from socksproxy.options.numbers import seconds as _seconds
from socksproxy.options.tls import TLSOptions
from socksproxy.outbound.associator import Associator, Filter
from socksproxy.outbound.direct import DirectConnector
from socksproxy.outbound.files import nameServer
from socksproxy.outbound.localend import ANY_LOCAL_END
from socksproxy.outbound.reachable import ANY_PORT, NOWHERE_ELSE, PortRange
from socksproxy.outbound.resolver import (
    CACHE,
    NEGATIVE_CACHE,
    IAddressSource,
    Resolver,
)
from socksproxy.outbound.system import (
    THREADS,
    ReverseSystemSource,
    SystemSource,
)
from socksproxy.relay.hub import Hub
from socksproxy.server.factory import Limits, SOCKS5Factory
from socksproxy.wire.address import Address

__all__ = ["Options", "makeService"]

DEFAULT_PORT = 1080
DEFAULT_INTERFACE = "127.0.0.1"

BACKLOG = 1024
"""
Clients that may wait to be accepted.  One too many for the kernel to keep
tries again after a second.
"""


def _portNumber(text: str) -> int:
    """
    A port; 0 is one that the system chooses.
    """
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise ValueError(f"{text!r} is not a port number, 0 to 65535")


def _portRange(text: str) -> PortRange:
    """
    Ports from one to another.
    """
    found = re.fullmatch(r"(\d+)-(\d+)", text, re.ASCII)
    if found is not None and 0 < int(found[1]) <= int(found[2]) <= 65535:
        return PortRange(int(found[1]), int(found[2]))
    raise ValueError(f"{text!r} is not a range of ports, as in 40000-40999")


def _threads(text: str) -> int:
    """
    How many threads.
    """
    if text.isascii() and text.isdigit() and int(text):
        return int(text)
    raise ValueError(f"{text!r} is not a number, 1 or more")


def _resolver(text: str) -> tuple[Address, ...] | None:
    """
    The name servers to ask, none for those of the system's; L{None}: the
    system is asked.
    """
    kind, given, servers = text.partition(":")
    if kind == "dns" and (servers or not given):
        return tuple(map(_nameServer, servers.split(","))) if servers else ()
    if text == "system":
        return None
    raise ValueError(f"{text!r} is not system, dns or dns:SERVER[:PORT],...")


def _nameServer(text: str) -> Address:
    found = re.fullmatch(r"(?:\[(.+)\]|([^:]+))(?::(.+))?", text)
    try:
        if found is None or found[3] == "0":
            raise ValueError
        port = _portNumber(found[3] or "53")
        return nameServer(found[1] or found[2], port)
    except ValueError:
        raise ValueError(
            f"{text!r} is not the IP address of a name server, as in 192.0.2.1, "
            "192.0.2.1:5353 or [2001:db8::1]:53"
        ) from None


def _filter(text: str) -> Filter:
    """
    Whose datagrams reach a client.
    """
    try:
        return Filter(text)
    except ValueError:
        raise ValueError(f"{text!r} is not none, address or port") from None


def _workers(text: str) -> int:
    """
    How many processes.
    """
    count = _count(text)
    if count > 1 and os.name != "posix":
        raise ValueError("there can be only one worker on this system")
    if count == 0 and hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    return count or 1


class Options(
    usage.Options,
    AuthOptionMixin,
    ChainingOptions,
    DialectOptions,
    LoginOptions,
    GSSAPIOptions,
    TLSOptions,
):
    """
    The command line.

    @ivar arguments: what it was.
    """

    synopsis = "[options]"
    longdesc = (
        "A proxy server that speaks SOCKS5, SOCKS4 and HTTP on one port. Without "
        "--auth, --gssapi, --client-ca or --no-auth-... everybody who can reach it "
        "may use it, so then it listens on loopback addresses only, unless "
        "--open-proxy says that this is wanted."
    )
    supportedInterfaces = (IUsernamePassword,)
    authOutput = sys.stdout

    optFlags: ClassVar = [
        [
            "open-proxy",
            None,
            "Listen on addresses that are not loopback although nobody needs a login: "
            "whoever can reach them can use this proxy to reach all that this "
            "machine can reach.",
        ],
        ["no-bind", None, "Answer BIND with reply 07, command not supported."],
        ["no-udp", None, "Do not serve UDP ASSOCIATE."],
    ]
    optParameters: ClassVar[list[list[Any]]] = [
        [
            "port",
            "p",
            None,
            f"TCP port to listen on [default: {DEFAULT_PORT}].",
            _portNumber,
        ],
        [
            "interface",
            "i",
            None,
            f"Address to listen on [default: {DEFAULT_INTERFACE}].",
        ],
        [
            "handshake-timeout",
            None,
            Limits().handshakeTimeout,
            "Seconds from a client's connection to its request; 0 is no limit.",
            _seconds,
        ],
        [
            "connect-timeout",
            None,
            Limits().connectTimeout,
            "Seconds to look up and connect to a target; 0 is no limit.",
            _seconds,
        ],
        [
            "bind-timeout",
            None,
            Limits().bindTimeout,
            "Seconds that a BIND waits for the target to connect; 0 is no limit.",
            _seconds,
        ],
        [
            "idle-timeout",
            None,
            Limits().idleTimeout,
            "Seconds without a byte after which a session ends; 0 is never.",
            _seconds,
        ],
        [
            "half-closed-timeout",
            None,
            Limits().halfClosedTimeout,
            "The same for a session of which one side has ended already.",
            _seconds,
        ],
        [
            "max-connections",
            None,
            Limits().maxConnections,
            "Clients served at a time, more have to wait; 0 is no limit.",
            _count,
        ],
        [
            "bind-interface",
            None,
            None,
            "Network interface by which connections to targets go out, whatever the "
            "routes say (Linux).",
        ],
        [
            "bind-ports",
            None,
            None,
            "Ports that BIND listens on, as in 20000-20999 [default: the system's "
            "choice].",
            _portRange,
        ],
        [
            "resolver",
            None,
            None,
            "How names are looked up: system, dns for the servers of resolv.conf, or "
            "dns:SERVER[:PORT][,SERVER[:PORT]...], IPv6 servers in brackets "
            "[default: system].",
            _resolver,
        ],
        [
            "resolver-threads",
            None,
            THREADS,
            "Names that the system looks up at a time; more have to wait.",
            _threads,
        ],
        [
            "resolver-cache",
            None,
            CACHE,
            "Seconds for which addresses are remembered, or less where DNS says so; "
            "0 is not at all.",
            _seconds,
        ],
        [
            "resolver-negative-cache",
            None,
            NEGATIVE_CACHE,
            "The same for names that have no address.",
            _seconds,
        ],
        [
            "udp-ports",
            None,
            None,
            "UDP ports for clients to send their datagrams to, A-B, for a firewall to "
            "let through [default: any].",
            _portRange,
        ],
        [
            "udp-filter",
            None,
            None,
            "Which datagrams reach a client: none lets all of them through, address "
            "those of hosts that it has sent to, port those of their very ports "
            "[default: none].",
            _filter,
        ],
        [
            "udp-timeout",
            None,
            Limits().udpTimeout,
            "Seconds without a datagram after which an association ends; 0 is never.",
            _seconds,
        ],
        [
            "udp-per-client",
            None,
            Limits().udpPerClient,
            "Associations that one client, by its IP address, may have at a time; 0 is "
            "no limit.",
            _count,
        ],
        [
            "grace",
            None,
            5.0,
            "Seconds that sessions have to end by themselves when the proxy stops.",
            _seconds,
        ],
        [
            "workers",
            None,
            1,
            "Processes that share the work, each with its part of --max-connections. "
            "One more starts them, and starts another when one dies. 0 is as many "
            "as there are processors to use.",
            _workers,
        ],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Those from docstrings have the source's line ends in them.
        self.docs = {
            name: " ".join((doc or "").split()) for name, doc in self.docs.items()
        }
        self["listen"] = []
        self["local-end"] = ANY_LOCAL_END
        self["advertised"] = NOWHERE_ELSE
        self.arguments: list[str] = []

    def opt_listen(self, description: str) -> None:
        """
        A Twisted server endpoint to listen on, like tcp6:1080:interface=\\:\\:1,
        unix:/run/socks.sock, tls:1443:privateKey=key.pem:certKey=cert.pem or
        systemd:domain=INET:index=0. May be given several times. Then --port and
        --interface count only if they are given too.
        """
        self["listen"].append(description)

    opt_l = opt_listen

    def opt_bind_address(self, address: str) -> None:
        """
        Address of this machine from which connections to targets come. May be
        given twice: one for IPv4 and one for IPv6; with one alone nothing goes
        out by the other.
        """
        self._setAddress("bind-address", "local-end", address)

    def opt_advertise(self, address: str) -> None:
        """
        Address at which others reach this machine, where it is not its own: that
        of a NAT that passes --bind-ports and --udp-ports on. May be given twice:
        one for IPv4 and one for IPv6.
        """
        if address in ("0.0.0.0", "::"):
            raise usage.UsageError(f"--advertise {address}: that is nobody's address")
        self._setAddress("advertise", "advertised", address)

    def _setAddress(self, option: str, key: str, address: str) -> None:
        """
        Of each family there can be one.
        """
        try:
            family = f"ipv{ipaddress.ip_address(address).version}"
        except ValueError:
            raise usage.UsageError(
                f"--{option} {address}: this is not an IP address"
            ) from None
        if getattr(self[key], family) is not None:
            raise usage.UsageError(
                f"--{option} {address}: there is one of its family already"
            )
        self[key] = replace(self[key], **{family: address})

    def opt_version(self) -> NoReturn:
        """
        Print the version and exit.
        """
        print(f"socksproxy {__version__}")
        sys.exit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        As in L{usage.Options}, but what is wrong is said in one line.
        """
        self.arguments = list(options or ())
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as wrong:
            _giveUp(f"{' '.join(str(wrong).split())}. Try --help.")

    def postOptions(self) -> None:
        self.checkExemptions()
        if self["bind-interface"] is not None:
            self["local-end"] = replace(
                self["local-end"], interface=self["bind-interface"]
            )
        self.checkGSSAPI()
        self.checkTLS()

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            raise usage.UsageError(f"there is no use for the argument {arguments[0]!r}")

    def opt_auth(self, description: str) -> None:
        """
        Demand a login, and say how it is checked: htpasswd:PATH is a file with
        a line user:hash for each user, pam:SERVICE asks PAM, file:PATH is a file
        with a line user:password for each user, memory:USER:PASSWORD is one
        user, --help-auth lists what else is installed. May be given several
        times: they are asked in turn.
        """
        kind, _, path = description.partition(":")
        if kind == "file":
            try:
                with open(path, "rb"):
                    pass
            except OSError as wrong:
                raise usage.UsageError(
                    f"--auth {description}: {wrong.strerror}"
                ) from None
        try:
            super().opt_auth(description)  # type: ignore[no-untyped-call]
        except usage.UsageError as wrong:
            # What a checker says of its argument is not unexpected.
            reason = str(wrong).removeprefix("Unexpected error: ")
            raise usage.UsageError(f"--auth {kind}: {reason}") from None

    def addChecker(self, checker: Any) -> None:
        """
        As in L{AuthOptionMixin}; but Twisted's C{memory:} knows its users by
        text, where logins are bytes.
        """
        if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
            checker.users = {
                _encoded(name): _encoded(password)
                for name, password in checker.users.items()
            }
        super().addChecker(checker)  # type: ignore[no-untyped-call]

    def descriptions(self) -> list[str]:
        """
        What to listen on, as descriptions of Twisted server endpoints.
        """
        port, interface = self["port"], self["interface"]
        found = list(self["listen"])
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


def makeService(options: Options) -> IService:
    """
    @raise SystemExit: an endpoint's description is wrong.
    """
    from twisted.internet import reactor

    count, number = options["workers"], 0
    maxConnections = options["max-connections"]
    if count > 1:
        # Not where there is no use for it: it is for POSIX systems only.
        from socksproxy import worker

        number = int(os.environ.pop(worker.NUMBER, 0))
        maxConnections = worker.share(maxConnections, count, number)

    endpoints: list[IStreamServerEndpoint] = []
    for index, description in enumerate(options.descriptions()):
        listening: Any = reactor
        if number:
            listening = worker.InheritingReactor(reactor, worker.descriptorOf(index))
        try:
            endpoints.append(options.endpoint(listening, description))
        except Exception as wrong:
            _giveUp(f"--listen {description}: {wrong}. Try --help.")
    try:
        authenticators = options.authenticators(reactor)
    except ValueError as wrong:
        _giveUp(f"{wrong}. Try --help.")
    hub, resolver = Hub.of(reactor), _resolverFor(reactor, options)
    localEnd = options["local-end"]
    filter = options["udp-filter"] or Filter.NONE
    associator = Associator(reactor, resolver, hub, localEnd, filter)
    direct = DirectConnector(
        reactor,
        resolver,
        hub=hub,
        localEnd=localEnd,
        bindPorts=options["bind-ports"] or ANY_PORT,
        advertised=options["advertised"],
        associator=associator,
        names=_resolverFor(reactor, options, isReverse=True),
    )
    serves = count == 1 or bool(number)
    factory = SOCKS5Factory(
        reactor,
        authenticators=authenticators,
        connector=options.connectorThrough(reactor, direct, resolver, serves),
        bind=not options["no-bind"],
        advertised=options["advertised"],
        limits=Limits(
            handshakeTimeout=options["handshake-timeout"],
            connectTimeout=options["connect-timeout"],
            bindTimeout=options["bind-timeout"],
            idleTimeout=options["idle-timeout"],
            halfClosedTimeout=options["half-closed-timeout"],
            maxConnections=maxConnections,
            udpTimeout=options["udp-timeout"],
            udpPerClient=options["udp-per-client"],
        ),
        udp=not options["no-udp"],
        udpPorts=options["udp-ports"] or ANY_PORT,
        dialects=options["protocols"],
        resolve=not options["no-resolve"],
    )
    grace, isOpen = options["grace"], bool(authenticators or options["open-proxy"])
    what = (reactor, factory, endpoints, grace, isOpen, localEnd)
    if number:
        return Worker(*what)
    if count > 1:
        # It imports the reactor.
        from socksproxy.workers import Workers

        workers = Workers(reactor, count, _workerArguments(options), grace)
        return Parent(*what, workers=workers)
    return CommandLineService(*what)


def _resolverFor(reactor: Any, options: Options, isReverse: bool = False) -> Resolver:
    """
    @param isReverse: whether it finds the names of addresses.
    """
    source: IAddressSource
    servers = options["resolver"]
    if servers is None:
        kind = ReverseSystemSource if isReverse else SystemSource
        source = kind(reactor, options["resolver-threads"])
    else:
        # What few want is loaded for them alone.
        from socksproxy.outbound.dns import DNSSource, ReverseDNSSource

        source = (ReverseDNSSource if isReverse else DNSSource)(reactor, servers)
    return Resolver(
        reactor, source, options["resolver-cache"], options["resolver-negative-cache"]
    )


def _workerArguments(options: Options) -> list[str]:
    """
    The command line of the C{twistd} that a worker is.
    """
    parent: Any = options.parent or {}
    # They are C{twist}'s and C{twistd}'s name for it.
    reactorName = parent.get("reactorName") or parent.get("reactor")
    return [
        *("-n", "--pidfile=", "--logger=socksproxy.worker.ParentsLog"),
        *(["--reactor", reactorName] if reactorName else []),
        *("socks5", *options.arguments, "--workers", str(options["workers"])),
    ]


def _giveUp(message: str) -> NoReturn:
    """
    One line for whoever gave the options, and a status that is not zero.
    """
    sys.exit(f"socks5: {message}")


def _encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else os.fsencode(text)
