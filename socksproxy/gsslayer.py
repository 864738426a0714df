"""
What the two ends of a GSSAPI login (RFC 1961) have in common, by the C{gssapi}
package.

That package comes with the extra C{socksproxy[gssapi]} only, so nobody imports
this module who does not use it.
"""

from __future__ import annotations

from typing import Any

from gssapi import Name, NameType, raw
from gssapi.raw.misc import GSSError
from gssapi.raw.types import RequirementFlag
from zope.interface import implementer

from socksproxy.interfaces import ISecurityLayer
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.errors import RemoteProtocolError
from socksproxy.wire.gssapi import Frame, MessageType, Protection

__all__ = ["GSSAPILayer", "layerFor", "readLevel", "sayLevel", "serviceName", "textOf"]

WORDS = 300
"""
Characters of the reason of a failure that are told.
"""


@implementer(ISecurityLayer)
class GSSAPILayer:
    """
    Every message in a frame of its own (RFC 1961 section 5).
    """

    def __init__(self, context: Any, encrypts: bool, demandsEncryption: bool) -> None:
        """
        @param context: a security context that is established: a
            L{gssapi.raw.SecurityContext}, of which the package's annotations
            disagree on what it is.
        @param encrypts: whether what is sent is encrypted too.
        @param demandsEncryption: whether what comes has to be.
        """
        self._context = context
        self._encrypts = encrypts
        self._demandsEncryption = demandsEncryption

    def wrap(self, data: bytes) -> bytes:
        """
        As in L{ISecurityLayer}.

        @raise ValueError: it cannot be protected.
        """
        try:
            token = raw.wrap(self._context, data, self._encrypts).message
        except GSSError as wrong:
            raise ValueError(f"GSSAPI message: {textOf(wrong)}") from None
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
            raise RemoteProtocolError(f"GSSAPI message: {textOf(wrong)}") from None
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


def sayLevel(context: Any, level: Protection, isBare: bool) -> bytes:
    """
    @param isBare: whether it is said in clear, as NEC's do.
    @return: the frame that says C{level} (RFC 1961 section 4.4).
    """
    token = bytes((level,))
    if not isBare:
        token = raw.wrap(context, token, False).message
    return Frame(MessageType.PROTECTION_LEVEL, token).encode()


def readLevel(context: Any, token: bytes, nec: bool) -> tuple[Protection, bool]:
    """
    @param nec: whether it may have been said in clear.
    @return: which level it is, and whether it was.
    @raise RemoteProtocolError: it is none, or somebody else has said it.
    """
    isBare = nec and len(token) == 1
    try:
        level = token if isBare else raw.unwrap(context, token).message
    except GSSError as wrong:
        why = f"level of GSSAPI protection: {textOf(wrong)}"
        raise RemoteProtocolError(why) from None
    if len(level) != 1 or level[0] > Protection.SELECTIVE:
        raise RemoteProtocolError("unknown level of GSSAPI protection")
    return Protection(level[0]), isBare


def layerFor(
    context: Any, flags: Any, level: Protection, least: Protection
) -> GSSAPILayer | None:
    """
    What the two have agreed on.

    Selective protection is never too little: every message has integrity, and
    which ones are encrypted too is for their senders to say, unless all have to
    be.

    @param flags: what C{context} can do.
    @return: L{None} for no protection at all.
    @raise ValueError: it is less than C{least}, or the context cannot do it.
    """
    canEncrypt = RequirementFlag.confidentiality in flags
    needsEncryption = Protection.CONFIDENTIALITY in (level, least)
    if (
        level < least
        or (level and RequirementFlag.integrity not in flags)
        or (needsEncryption and not canEncrypt)
    ):
        raise ValueError("GSSAPI with less protection than it has to have")
    if level is Protection.NONE:
        return None
    encrypts = canEncrypt and level is not Protection.INTEGRITY
    return GSSAPILayer(context, encrypts, needsEncryption)


def serviceName(service: str) -> Name:
    """
    @param service: C{rcmd@HOST}, or C{rcmd/HOST@REALM} for one principal.
    """
    isPrincipal = "/" in service
    return Name(
        service,
        NameType.kerberos_principal if isPrincipal else NameType.hostbased_service,
    )


def textOf(wrong: BaseException) -> str:
    """
    What the mechanism has to say, in quotes: it may name a service that the peer
    chose, however long that is.
    """
    return repr(str(wrong)[:WORDS])
