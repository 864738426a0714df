"""
C{twistd socks5}: the command line, and the service that it asks for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

from twisted.application.service import IService
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.python import usage

from socksproxy import __version__
from socksproxy.command import CommandLineService, Parent, Worker
from socksproxy.options.chaining import ChainingOptions
from socksproxy.options.dialects import DialectOptions
from socksproxy.options.gssapi import GSSAPIOptions
from socksproxy.options.limits import LimitOptions
from socksproxy.options.listening import ListeningOptions
from socksproxy.options.logins import LoginOptions
from socksproxy.options.named import named
from socksproxy.options.numbers import count, seconds
from socksproxy.options.resolving import ResolvingOptions
from socksproxy.options.targets import TargetOptions
from socksproxy.options.tls import TLSOptions
from socksproxy.outbound.reachable import ANY_PORT
from socksproxy.server.factory import SOCKS5Factory

__all__ = ["Options", "makeService"]


def _workers(text: str) -> int:
    """
    How many processes.
    """
    wanted = count(text)
    if wanted > 1 and os.name != "posix":
        raise ValueError("there can be only one worker on this system")
    if wanted == 0 and hasattr(os, "sched_getaffinity"):
        wanted = len(os.sched_getaffinity(0))
    return wanted or 1


@named
class Options(
    usage.Options,
    AuthOptionMixin,
    ListeningOptions,
    TLSOptions,
    DialectOptions,
    LoginOptions,
    GSSAPIOptions,
    ResolvingOptions,
    TargetOptions,
    ChainingOptions,
    LimitOptions,
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

    optParameters: ClassVar[list[list[Any]]] = [
        [
            "grace",
            None,
            5.0,
            "Seconds that sessions have to end by themselves when the proxy stops.",
            seconds,
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
        self.arguments: list[str] = []

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
    resolver = options.resolver(reactor)
    names = options.resolver(reactor, isReverse=True)
    direct = options.directConnector(reactor, resolver, names)
    serves = count == 1 or bool(number)
    factory = SOCKS5Factory(
        reactor,
        authenticators=authenticators,
        connector=options.connectorThrough(reactor, direct, resolver, serves),
        bind=not options["no-bind"],
        advertised=options.advertised(),
        limits=options.limits(maxConnections),
        udp=not options["no-udp"],
        udpPorts=options["udp-ports"] or ANY_PORT,
        dialects=options["protocols"],
        resolve=not options["no-resolve"],
    )
    grace, isOpen = options["grace"], bool(authenticators or options["open-proxy"])
    what = (reactor, factory, endpoints, grace, isOpen, options.localEnd())
    if number:
        return Worker(*what)
    if count > 1:
        # It imports the reactor.
        from socksproxy.workers import Workers

        workers = Workers(reactor, count, _workerArguments(options), grace)
        return Parent(*what, workers=workers)
    return CommandLineService(*what)


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
