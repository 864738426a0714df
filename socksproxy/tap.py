"""
C{twistd socks5}: the options, and the only place that chooses defaults.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from twisted.application.service import IService
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.internet.defer import gatherResults
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python import usage

from socksproxy import __version__
from socksproxy.auth.password import PasswordAuthenticator
from socksproxy.server.factory import Limits, SOCKS5Factory
from socksproxy.service import SOCKS5Service

if TYPE_CHECKING:
    from socksproxy.workers import Workers

__all__ = ["Options", "makeService"]

log = Logger()

DEFAULT_PORT = 1080
DEFAULT_INTERFACE = "127.0.0.1"


def _portNumber(text: str) -> int:
    """
    A port; 0 is one that the system chooses.
    """
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise ValueError(f"{text!r} is not a port number, 0 to 65535")


def _seconds(text: str) -> float:
    """
    A number of seconds, perhaps with a fraction.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if 0 <= seconds < float("inf"):
        return seconds
    raise ValueError(f"{text!r} is not a number of seconds, 0 or more")


def _count(text: str) -> int:
    """
    How many of something.
    """
    if text.isascii() and text.isdigit():
        return int(text)
    raise ValueError(f"{text!r} is not a number, 0 or more")


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


class Options(usage.Options, AuthOptionMixin):
    """
    The command line.

    @ivar arguments: what it was.
    """

    synopsis = "[options]"
    longdesc = (
        "A SOCKS5 proxy server (RFC 1928, RFC 1929). Without --auth everybody who "
        "can reach it may use it, so then it listens on loopback addresses only, "
        "unless --open-proxy says that this is wanted."
    )
    supportedInterfaces = (IUsernamePassword,)
    authOutput = sys.stdout

    optFlags: ClassVar = [
        [
            "open-proxy",
            None,
            "Listen on addresses that are not loopback although there is no --auth: "
            "whoever can reach them can use this proxy to reach all that this "
            "machine can reach.",
        ],
    ]
    optParameters: ClassVar = [
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
        self["listen"] = []
        self.arguments: list[str] = []

    def opt_listen(self, description: str) -> None:
        """
        A Twisted server endpoint to listen on, like tcp6:1080:interface=\\:\\:1,
        unix:/run/socks.sock, ssl:1443:privateKey=key.pem:certKey=cert.pem or
        systemd:domain=INET:index=0. May be given several times. Then --port and
        --interface count only if they are given too.
        """
        self["listen"].append(description)

    opt_l = opt_listen

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

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            raise usage.UsageError(f"there is no use for the argument {arguments[0]!r}")

    def opt_auth(self, description: str) -> None:
        """
        Demand a login, and say how it is checked: file:PATH is a file with a
        line user:password for each user, memory:USER:PASSWORD is one user,
        --help-auth lists what else is installed. May be given several times:
        they are asked in turn.
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
        super().opt_auth(description)  # type: ignore[no-untyped-call]

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
                0, f"{scheme}:{port}:interface={quoteStringArgument(interface)}"
            )
        return found


class _CommandLineService(SOCKS5Service):
    """
    What a person has started: it says what it does, and why it cannot.
    """

    def __init__(
        self,
        reactor: Any,
        factory: SOCKS5Factory,
        endpoints: Sequence[IStreamServerEndpoint],
        grace: float,
        isOpen: bool,
    ) -> None:
        """
        @param isOpen: whether everybody may use it from everywhere.
        """
        super().__init__(factory, endpoints, grace)
        self._reactor = reactor
        self._isOpen = isOpen

    def privilegedStartService(self) -> None:
        _raiseDescriptorLimit()
        try:
            super().privilegedStartService()
        except Exception as wrong:
            raise _cannotStart(f"cannot listen: {wrong}") from None
        for port in self.ports:
            host = getattr(port.getHost(), "host", None)
            if not self._isOpen and not _isLocal(host):
                raise _cannotStart(
                    f"will not listen on {host} without a login: everybody "
                    "who can reach this address could use the proxy. Add a login "
                    "(--auth file:PATH, see --help-auth), listen on a loopback "
                    "address, or insist with --open-proxy."
                )

    def startService(self) -> None:
        super().startService()
        if hasattr(signal, "SIGHUP"):
            signal.signal(
                signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.hangUp)
            )

    def stopService(self) -> Any:
        log.info("The SOCKS5 proxy stops.")
        return super().stopService()

    def hangUp(self) -> None:
        """
        SIGHUP came, which would end this process if nobody cared.
        """
        log.info("SIGHUP: there is nothing that could be read again.")


class _Worker(_CommandLineService):
    """
    One of several processes, see L{socksproxy.worker}.
    """

    def startService(self) -> None:
        from socksproxy.worker import watchParent

        super().startService()
        self._reactor.callWhenRunning(watchParent, self._reactor)


class _Parent(_CommandLineService):
    """
    Listens for its workers, see L{socksproxy.workers}, and serves nobody itself.
    """

    def __init__(self, *what: Any, workers: Workers) -> None:
        super().__init__(*what)
        self._workers = workers

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        try:
            self._workers.share(self.ports)
        except Exception as wrong:
            raise _cannotStart(f"cannot listen: {wrong}") from None

    def startService(self) -> None:
        super().startService()
        try:
            self._workers.startService()
        except RuntimeError as wrong:
            raise _cannotStart(f"a worker cannot start: {wrong}") from None

    def stopService(self) -> Any:
        return gatherResults([super().stopService(), self._workers.stopService()])

    def hangUp(self) -> None:
        log.info("SIGHUP: the workers are told.")
        self._workers.hangUp()


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
            endpoints.append(serverFromString(listening, description))
        except Exception as wrong:
            _giveUp(f"--listen {description}: {wrong}. Try --help.")
    checkers = options.get("credCheckers")
    factory = SOCKS5Factory(
        reactor,
        authenticators=[PasswordAuthenticator(checkers)] if checkers else None,
        limits=Limits(
            handshakeTimeout=options["handshake-timeout"],
            connectTimeout=options["connect-timeout"],
            idleTimeout=options["idle-timeout"],
            halfClosedTimeout=options["half-closed-timeout"],
            maxConnections=maxConnections,
        ),
    )
    grace, isOpen = options["grace"], bool(checkers) or bool(options["open-proxy"])
    what = (reactor, factory, endpoints, grace, isOpen)
    if number:
        return _Worker(*what)
    if count > 1:
        # It imports the reactor.
        from socksproxy.workers import Workers

        workers = Workers(reactor, count, _workerArguments(options), grace)
        return _Parent(*what, workers=workers)
    return _CommandLineService(*what)


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


class CannotStart(Exception):
    """
    The service cannot start; the message says what to do.
    """


def _cannotStart(message: str) -> CannotStart:
    """
    What to raise so that twistd removes its pid file, tells the process that
    waits for the daemon, and ends with a status that is not zero; and with a
    line where any other exception gets a traceback.
    """
    previous = sys.excepthook

    def excepthook(
        kind: type[BaseException], wrong: BaseException, traceback: Any
    ) -> None:
        if isinstance(wrong, CannotStart):
            print(f"socks5: {wrong}", file=sys.stderr)
        else:
            previous(kind, wrong, traceback)

    sys.excepthook = excepthook
    return CannotStart(message)


def _encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else os.fsencode(text)


def _isLocal(host: str | None) -> bool:
    """
    Whether only this machine can reach a listening address.

    @param host: L{None}: it is not an IP address but a UNIX socket's, and the
        file system says who may.
    """
    return host is None or ipaddress.ip_address(host.partition("%")[0]).is_loopback


def _raiseDescriptorLimit() -> None:
    """
    Take as many descriptors as the system gives: a session needs two.
    """
    try:
        from resource import RLIMIT_NOFILE, getrlimit, setrlimit
    except ImportError:  # pragma: no cover (there is one on Linux)
        return
    soft, hard = getrlimit(RLIMIT_NOFILE)
    if soft != hard:
        setrlimit(RLIMIT_NOFILE, (hard, hard))
