"""
GSSAPI (RFC 1961) with Kerberos, by the C{gssapi} package.

Nobody imports this module who does not use it: that package comes with the extra
C{socksproxy[gssapi]} only.
"""

from __future__ import annotations

from typing import Any

from gssapi import Credentials, MechType, raw
from gssapi.raw.misc import GSSError
from gssapi.raw.named_tuples import AcceptSecContextResult
from gssapi.raw.types import RequirementFlag
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.gsslayer import layerFor, readLevel, sayLevel, serviceName, textOf
from socksproxy.interfaces import (
    Continue,
    Denied,
    Granted,
    IAuthenticator,
    Identity,
    INegotiation,
    ISession,
    NegotiationStep,
)
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Method
from socksproxy.wire.errors import RemoteProtocolError
from socksproxy.wire.gssapi import ABORT, Frame, MessageType, Protection

__all__ = ["GSSAPIAuthenticator"]


@implementer(IAuthenticator)
class GSSAPIAuthenticator:
    """
    A client with a ticket for this service is who the ticket says: its principal
    as text, realm included, is L{Identity.name}.
    """

    method = int(Method.GSSAPI)

    def __init__(
        self,
        reactor: Any,
        service: str | None = None,
        keytab: str | None = None,
        least: Protection = Protection.NONE,
        protects: bool = True,
        nec: bool = False,
    ) -> None:
        """
        @param reactor: has the threads in which tickets are looked at: the cache
            against replays is a file.
        @param service: C{rcmd} for whatever hosts there are keys for,
            C{rcmd@HOST} for one, C{rcmd/HOST@REALM} for one principal.  Any
            service that there are keys for unless given.
        @param keytab: the file with the keys; the system's unless given.
        @param least: clients that want less protection are refused.
        @param protects: whether there is any protection to be had: if not,
            clients that want it are told so, and may go on without.
        @param nec: whether a client may say in clear which protection it wants,
            as NEC's does; somebody in between can change it then.
        @raise ValueError: there are no such keys; says why.
        """
        if not protects and least is not Protection.NONE:
            raise ValueError("protection cannot be both demanded and switched off")
        self.least = least
        self.protects = protects
        self.nec = nec
        self.reactor = reactor
        try:
            self.credentials = Credentials(
                name=None if service is None else serviceName(service),
                usage="accept",
                mechs=[MechType.kerberos],
                store=None if keytab is None else {"keytab": keytab},
            )
        except GSSError as wrong:
            raise ValueError(textOf(wrong)) from None

    def beginNegotiation(self, session: ISession) -> INegotiation:
        return _Negotiation(self)


@implementer(INegotiation)
class _Negotiation:
    """
    One client's: a security context, in as many rounds as it takes, then a level
    of protection.
    """

    def __init__(self, authenticator: GSSAPIAuthenticator) -> None:
        self._authenticator = authenticator
        # The package's annotations disagree on what a context is.
        self._context: Any = None
        self._isEstablished = False
        self._flags: Any = frozenset()
        self._name = ""

    def advance(
        self, received: ReceiveBuffer
    ) -> NegotiationStep | Deferred[NegotiationStep] | None:
        try:
            frame = Frame.parse(received)
        except RemoteProtocolError as wrong:
            return Denied(str(wrong), ABORT)
        if frame is None:
            return None
        if frame.type == MessageType.ABORT:
            return Denied("the client gave up its GSSAPI login")
        if self._isEstablished and frame.type == MessageType.PROTECTION_LEVEL:
            return self._agree(frame.token)
        if self._isEstablished or frame.type != MessageType.AUTHENTICATION:
            return Denied("GSSAPI messages in a wrong order", ABORT)
        reactor = self._authenticator.reactor
        return deferToThreadPool(
            reactor,
            reactor.getThreadPool(),
            raw.accept_sec_context,
            frame.token,
            self._authenticator.credentials,
            self._context,
        ).addCallbacks(self._accepted, _notAccepted)

    def _accepted(self, result: AcceptSecContextResult) -> NegotiationStep:
        self._context = result.context
        if not result.more_steps:
            self._isEstablished = True
            self._flags = result.flags
            name = raw.display_name(result.initiator_name, name_type=False).name
            self._name = name.decode("utf-8", "surrogateescape")
            if RequirementFlag.anonymity in self._flags:
                return Denied("a GSSAPI login of nobody", ABORT)
        if not result.token:
            return Continue(b"")
        return Continue(Frame(MessageType.AUTHENTICATION, result.token).encode())

    def _agree(self, token: bytes) -> NegotiationStep:
        """
        @param token: the level that the client wants.
        """
        authenticator = self._authenticator
        try:
            level, isBare = readLevel(self._context, token, authenticator.nec)
            if not authenticator.protects:
                level = Protection.NONE
            layer = layerFor(self._context, self._flags, level, authenticator.least)
        except (RemoteProtocolError, ValueError) as wrong:
            return Denied(str(wrong), ABORT)
        answer = sayLevel(self._context, level, isBare)
        return Granted(Identity(self._name), answer, layer)

    def abandon(self) -> None:
        self._context = None


def _notAccepted(failure: Failure) -> NegotiationStep:
    failure.trap(GSSError)
    assert failure.value is not None
    return Denied(f"GSSAPI login: {textOf(failure.value)}", ABORT)
