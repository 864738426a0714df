"""
Options for logins: who needs one, and how hard they are to guess.
"""

from __future__ import annotations

import math
import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, ClassVar, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.python import usage

from socksproxy.auth.exempt import Exempt, Network, ReachedAt, areEverybody
from socksproxy.auth.password import PasswordAuthenticator
from socksproxy.auth.remembered import SECONDS, Remembering
from socksproxy.auth.threads import IBlocking, InThreads
from socksproxy.auth.throttle import GuessLimits, Throttle
from socksproxy.interfaces import IAuthenticator
from socksproxy.options.named import named
from socksproxy.options.numbers import count, seconds

__all__ = ["LoginOptions"]

_LIMITS = GuessLimits()

_MAPPED = IPv6Network("::ffff:0:0/96")


@named
class LoginOptions:
    """
    What the command line says of logins.
    """

    optParameters: ClassVar[list[list[Any]]] = [
        [
            "login-cache",
            None,
            SECONDS,
            "Seconds for which a login is remembered that took its time to check, as "
            "with a slow hash; 0 is not at all.",
            seconds,
        ],
        [
            "login-pause-after",
            None,
            _LIMITS.pauseAfter,
            "Failed logins of an address, or of a user, after which the next ones "
            "have to wait; 0 is never.",
            count,
        ],
        [
            "login-pause",
            None,
            _LIMITS.pause,
            "Seconds that the first of these waits; each next one twice as long.",
            seconds,
        ],
        [
            "login-max-pause",
            None,
            _LIMITS.maxPause,
            "Seconds that it waits at most; it is never more than half of "
            "--handshake-timeout, or nobody would come to an answer.",
            seconds,
        ],
        [
            "login-ban-after",
            None,
            _LIMITS.banAfter,
            "Failed logins after which an address is refused; 0 is never.",
            count,
        ],
        [
            "login-ban-time",
            None,
            _LIMITS.banTime,
            "Seconds for which it is refused.",
            seconds,
        ],
    ]

    def opt_no_auth_from(self: Any, network: str) -> None:
        """
        Network whose clients need no login, as in 192.0.2.0/24 or 2001:db8::/32,
        or one address, or unix for those of UNIX sockets. May be given several
        times.
        """
        if network == "unix":
            self["no-auth-from-unix"] = True
            return
        try:
            found = ip_network(network)
        except ValueError:
            raise usage.UsageError(
                f"--no-auth-from {network}: this is not a network, as in 192.0.2.0/24 "
                "or 2001:db8::/32, nor an IP address, nor unix"
            ) from None
        self.setdefault("no-auth-from", []).append(_unmapped(found))

    def opt_no_auth_on(self: Any, address: str) -> None:
        """
        Address of this machine, and perhaps a port, at which clients need no
        login: ADDRESS[:PORT], IPv6 addresses in brackets. May be given several
        times.
        """
        self.setdefault("no-auth-on", []).append(_reachedAt(address))

    def checkExemptions(self: Any) -> None:
        """
        Nobody opens the proxy to everybody without saying so.

        @raise usage.UsageError: somebody was about to.
        """
        if self["open-proxy"]:
            return
        if areEverybody(self.get("no-auth-from", ())):
            raise usage.UsageError(
                "--no-auth-from lets everybody in without a login: name smaller "
                "networks, or insist with --open-proxy"
            )
        for place in self.get("no-auth-on", ()):
            if not place.ip.is_loopback:
                raise usage.UsageError(
                    f"--no-auth-on {place.ip}: everybody who can reach this address "
                    "could use the proxy. Name who needs no login (--no-auth-from), "
                    "or insist with --open-proxy"
                )

    def authenticators(self: Any, reactor: Any) -> list[IAuthenticator] | None:
        """
        Who finds out who a client is, in the order of preference.

        @return: L{None}: nobody is asked for a login.
        """
        found: list[IAuthenticator] = []
        networks, places = self.get("no-auth-from", ()), self.get("no-auth-on", ())
        unix = self.get("no-auth-from-unix", False)
        if networks or places or unix:
            found.append(Exempt(networks, places, unix))
        logins = self.gssapiAuthenticators(reactor)
        checkers = self.get("credCheckers")
        if checkers:
            # What waits for longer than a client may take is never looked at.
            handshake = self["handshake-timeout"] or math.inf
            limits = GuessLimits(
                pauseAfter=self["login-pause-after"],
                pause=self["login-pause"],
                maxPause=min(self["login-max-pause"], handshake / 2),
                banAfter=self["login-ban-after"],
                banTime=self["login-ban-time"],
            )
            remembering = Remembering(
                reactor,
                [_offTheReactor(reactor, checker) for checker in checkers],
                self["login-cache"],
                changing=checkers,
            )
            logins.append(
                PasswordAuthenticator([remembering], Throttle(reactor, limits))
            )
        found += logins or self.certificateAuthenticators()
        return found or None


def _offTheReactor(reactor: Any, checker: Any) -> ICredentialsChecker:
    """
    One that blocks gets threads, each its own, and a queue with an end.
    """
    if IBlocking.providedBy(checker):
        return InThreads(reactor, checker.check)
    return cast(ICredentialsChecker, checker)


def _unmapped(network: Network) -> Network:
    """
    Clients with IPv4 addresses are known by these, however they have come.
    """
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        bits = int(network.network_address) & 0xFFFFFFFF
        return IPv4Network((bits, network.prefixlen - 96))
    return network


def _reachedAt(text: str) -> ReachedAt:
    found = re.fullmatch(r"(?:\[(.+)\]|([^:]+))(?::(\d+))?", text, re.ASCII)
    host, port = text, None
    if found is not None:
        host, port = found[1] or found[2], found[3]
    try:
        ip = ip_address(host)
        if port is not None and not 0 < int(port) <= 65535:
            raise ValueError
    except ValueError:
        raise usage.UsageError(
            f"--no-auth-on {text}: this is not an address, as in 127.0.0.1, "
            "127.0.0.1:1080 or [::1]:1080"
        ) from None
    mapped = getattr(ip, "ipv4_mapped", None)
    return ReachedAt(mapped or ip, None if port is None else int(port))
