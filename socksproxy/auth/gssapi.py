"""
GSSAPI (RFC 1961) with Kerberos, by the C{gssapi} package.

Nobody else imports that package, and nobody imports this module who does not
use it: it comes with the extra C{socksproxy[gssapi]} only.
"""

from __future__ import annotations

from typing import Any

from gssapi import Credentials, MechType, Name, NameType, raw
from gssapi.raw.misc import GSSError
from gssapi.raw.named_tuples import AcceptSecContextResult
from gssapi.raw.types import RequirementFlag
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.interfaces import (
    Continue,
    Denied,
    Granted,
    IAuthenticator,
    Identity,
    INegotiation,
    ISecurityLayer,
    ISession,
    NegotiationStep,
)
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Method
from socksproxy.wire.errors import RemoteProtocolError
from socksproxy.wire.gssapi import ABORT, Frame, MessageType, Protection

__all__ = ["GSSAPIAuthenticator"]

WORDS = 300
"""
Characters of the reason of a failure that are logged.
"""


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
                name=None if service is None else _serviceName(service),
                usage="accept",
                mechs=[MechType.kerberos],
                store=None if keytab is None else {"keytab": keytab},
            )
        except GSSError as wrong:
            raise ValueError(_textOf(wrong)) from None

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
        context = self._context
        isBare = self._authenticator.nec and len(token) == 1
        try:
            wanted = token if isBare else raw.unwrap(context, token).message
        except GSSError as wrong:
            return Denied(f"level of GSSAPI protection: {_textOf(wrong)}", ABORT)
        if len(wanted) != 1 or wanted[0] > Protection.SELECTIVE:
            return Denied("unknown level of GSSAPI protection", ABORT)
        agreed = self._agreed(Protection(wanted[0]))
        if agreed is None:
            return Denied("GSSAPI with less protection than it has to have", ABORT)
        answer = bytes((agreed,))
        if not isBare:
            answer = raw.wrap(context, answer, False).message
        layer = None
        if agreed is not Protection.NONE:
            layer = _SecurityLayer(
                context,
                encrypts=self._canEncrypt and agreed is not Protection.INTEGRITY,
                demandsEncryption=Protection.CONFIDENTIALITY
                in (agreed, self._authenticator.least),
            )
        return Granted(
            Identity(self._name),
            Frame(MessageType.PROTECTION_LEVEL, answer).encode(),
            layer,
        )

    @property
    def _canEncrypt(self) -> bool:
        return RequirementFlag.confidentiality in self._flags

    def _agreed(self, wanted: Protection) -> Protection | None:
        """
        Selective protection is never too little: every message has integrity,
        and which ones are encrypted too is for their senders to say, unless all
        have to be.
        """
        authenticator = self._authenticator
        if not authenticator.protects:
            return Protection.NONE
        needs = {wanted, authenticator.least}
        if (
            wanted < authenticator.least
            or (wanted and RequirementFlag.integrity not in self._flags)
            or (Protection.CONFIDENTIALITY in needs and not self._canEncrypt)
        ):
            return None
        return wanted

    def abandon(self) -> None:
        self._context = None


@implementer(ISecurityLayer)
class _SecurityLayer:
    """
    Every message in a frame of its own (RFC 1961 section 5).
    """

    def __init__(self, context: Any, encrypts: bool, demandsEncryption: bool) -> None:
        """
        @param encrypts: whether what is sent is encrypted too.
        @param demandsEncryption: whether what comes has to be.
        """
        self._context = context
        self._encrypts = encrypts
        self._demandsEncryption = demandsEncryption

    def wrap(self, data: bytes) -> bytes:
        token = raw.wrap(self._context, data, self._encrypts).message
        return Frame(MessageType.ENCAPSULATION, token).encode()

    def unwrap(self, received: ReceiveBuffer) -> bytes | None:
        frame = Frame.parse(received)
        if frame is None:
            return None
        if frame.type != MessageType.ENCAPSULATION:
            raise RemoteProtocolError("GSSAPI messages in a wrong order")
        try:
            result = raw.unwrap(self._context, frame.token)
        except GSSError as wrong:
            raise RemoteProtocolError(f"GSSAPI message: {_textOf(wrong)}") from None
        if self._demandsEncryption and not result.encrypted:
            raise RemoteProtocolError("GSSAPI message that is not encrypted")
        return result.message

    def wrapDatagram(self, datagram: bytes) -> bytes:
        return self.wrap(datagram)

    def unwrapDatagram(self, datagram: bytes) -> bytes:
        received = ReceiveBuffer(datagram)
        unwrapped = self.unwrap(received)
        if unwrapped is None or received:
            raise RemoteProtocolError("datagram that is not one GSSAPI message")
        return unwrapped


def _notAccepted(failure: Failure) -> NegotiationStep:
    failure.trap(GSSError)
    assert failure.value is not None
    return Denied(f"GSSAPI login: {_textOf(failure.value)}", ABORT)


def _serviceName(service: str) -> Name:
    isPrincipal = "/" in service
    return Name(
        service,
        NameType.kerberos_principal if isPrincipal else NameType.hostbased_service,
    )


def _textOf(wrong: BaseException) -> str:
    """
    What the mechanism has to say, in quotes: it may name a service that the
    client chose, however long that is.
    """
    return repr(str(wrong)[:WORDS])
