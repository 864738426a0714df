"""
Who we are: whoever our ticket says.  GSSAPI (RFC 1961) with Kerberos, by the
C{gssapi} package.

Nobody imports this module who does not use it: that package comes with the extra
C{socksproxy[gssapi]} only.
"""

from __future__ import annotations

from typing import Any

from gssapi import Credentials, MechType, raw
from gssapi.raw.misc import GSSError
from gssapi.raw.types import RequirementFlag
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from socksproxy.client.errors import (
    LoginRefused,
    NoTicket,
    ProxyProtocolError,
    TooLittleProtection,
)
from socksproxy.client.interfaces import (
    Accepted,
    ClientStep,
    IClientAuthenticator,
    IClientNegotiation,
)
from socksproxy.gsslayer import layerFor, readLevel, sayLevel, serviceName, textOf
from socksproxy.interfaces import Continue
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command, Method
from socksproxy.wire.errors import RemoteProtocolError
from socksproxy.wire.gssapi import Frame, MessageType, Protection

__all__ = ["SERVICE", "GSSAPILogin"]

SERVICE = "rcmd"
"""
What a proxy is called in its realm by custom, curl's and Dante's.
"""

_FLAGS = (
    RequirementFlag.mutual_authentication,
    RequirementFlag.replay_detection,
    RequirementFlag.integrity,
    RequirementFlag.confidentiality,
)
"""
What every context is asked for.  The RFC has clients hand their tickets on to the
proxy as well, which then could be them everywhere: ours do not.
"""


@implementer(IClientAuthenticator)
class GSSAPILogin:
    """
    Logs in with a ticket for the proxy, and has all that follows protected.
    """

    method = int(Method.GSSAPI)
    isOneWay = False

    def __init__(
        self,
        reactor: Any,
        host: str,
        service: str = SERVICE,
        protection: Protection = Protection.CONFIDENTIALITY,
        least: Protection | None = None,
        nec: bool = False,
        tickets: str | None = None,
        pool: Any = None,
    ) -> None:
        """
        @param reactor: provides L{IReactorFromThreads
            <twisted.internet.interfaces.IReactorFromThreads>} and, unless there is
            a C{pool}, L{IReactorThreads
            <twisted.internet.interfaces.IReactorThreads>}: for a ticket the KDC
            has to be asked, which takes its time.
        @param host: the proxy's name, as its realm knows it.
        @param service: what the proxy is called there: the C{rcmd} of
            C{rcmd@HOST}.  With a C{/} it is all of the principal, whatever
            C{host} is: C{rcmd/HOST@REALM}.
        @param protection: what the proxy is asked for.
        @param least: what will do if the proxy has another opinion: no selective
            level.  Unless given it is C{protection}, of whose selective level
            nobody can expect more than integrity.
        @param nec: whether the level of protection is said in clear, as NEC's
            proxy wants it; somebody in between can lower it then, but not below
            C{least}.
        @param tickets: the cache that has our ticket, as in C{KRB5CCNAME}; the
            system's unless given.
        @param pool: a L{ThreadPool <twisted.python.threadpool.ThreadPool>} that
            runs; the reactor's unless given.
        """
        if least is None:
            isSelective = protection is Protection.SELECTIVE
            least = Protection.INTEGRITY if isSelective else protection
        if "/" not in service:
            service = f"{service}@{host}"
        self.service = service
        self.protection = protection
        self.least = least
        self.nec = nec
        self.tickets = tickets
        self._reactor = reactor
        self._pool = pool

    def __repr__(self) -> str:
        return f"<GSSAPILogin {self.service!r}>"

    def beginNegotiation(self, command: Command) -> IClientNegotiation:
        return _Negotiation(self, command)

    def inThread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        """
        Call what takes its time.
        """
        pool = self._pool or self._reactor.getThreadPool()
        return deferToThreadPool(self._reactor, pool, function, *arguments)


@implementer(IClientNegotiation)
class _Negotiation:
    """
    One connection's: a security context, in as many rounds as it takes, then a
    level of protection.
    """

    def __init__(self, login: GSSAPILogin, command: Command) -> None:
        self._login = login
        self._wanted = list(_FLAGS)
        if command != Command.UDP_ASSOCIATE:
            # Datagrams that are lost on their way would be found missing.
            self._wanted.append(RequirementFlag.out_of_sequence_detection)
        # The package's annotations disagree on what a context is.
        self._context: Any = None
        self._flags: Any = frozenset()
        self._isBegun = False
        self._isEstablished = False

    def advance(
        self, received: ReceiveBuffer
    ) -> ClientStep | Deferred[ClientStep] | None:
        if not self._isBegun:
            self._isBegun = True
            return self._login.inThread(self._begin).addCallback(self._stepped)
        frame = Frame.parse(received)
        if frame is None:
            return None
        if frame.type == MessageType.ABORT:
            what = "level of protection" if self._isEstablished else "login"
            raise LoginRefused(f"the proxy refused the GSSAPI {what}")
        if self._isEstablished and frame.type == MessageType.PROTECTION_LEVEL:
            return self._agree(frame.token)
        if self._isEstablished or frame.type != MessageType.AUTHENTICATION:
            raise RemoteProtocolError("GSSAPI messages in a wrong order")
        going = self._login.inThread(self._goOn, frame.token)
        return going.addCallback(self._stepped)

    # These are called on a thread.

    def _begin(self) -> Any:
        try:
            return self._step(None)
        except GSSError as wrong:
            service = self._login.service
            raise NoTicket(f"no ticket for {service!r}: {textOf(wrong)}") from None

    def _goOn(self, token: bytes) -> Any:
        try:
            return self._step(token)
        except GSSError as wrong:
            why = f"the proxy's side of the GSSAPI login: {textOf(wrong)}"
            raise ProxyProtocolError(why) from None

    def _step(self, token: bytes | None) -> Any:
        tickets = self._login.tickets
        mine = None
        if tickets is not None:
            mine = Credentials(
                usage="initiate",
                mechs=[MechType.kerberos],
                store={"ccache": tickets},
            )
        return raw.init_sec_context(
            serviceName(self._login.service),
            creds=mine,
            context=self._context,
            mech=MechType.kerberos,
            flags=self._wanted,
            input_token=token,
        )

    # These are not.

    def _stepped(self, result: Any) -> ClientStep:
        """
        @param result: what C{raw.init_sec_context} returned.
        """
        self._context = result.context
        response = b""
        if result.token:
            response = Frame(MessageType.AUTHENTICATION, result.token).encode()
        if not result.more_steps:
            self._isEstablished = True
            self._flags = result.flags
            login = self._login
            response += sayLevel(self._context, login.protection, login.nec)
        return Continue(response)

    def _agree(self, token: bytes) -> ClientStep:
        """
        @param token: the level that the proxy has chosen.
        """
        login = self._login
        level, _ = readLevel(self._context, token, login.nec)
        try:
            layer = layerFor(self._context, self._flags, level, login.least)
        except ValueError:
            why = f"the proxy chose {level.name.lower()} as GSSAPI protection"
            raise TooLittleProtection(why) from None
        return Accepted(securityLayer=layer)

    def abandon(self) -> None:
        self._context = None
