"""
Tests for L{socksproxy.gsslayer}, with a KDC.
"""

from __future__ import annotations

from typing import Any

from zope.interface.verify import verifyObject

from socksproxy.errors import RemoteProtocolError
from socksproxy.interfaces import ISecurityLayer
from socksproxy.test.kerberos import (
    Acceptor,
    Initiator,
    KerberosTestCase,
    needsKerberos,
)
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.gssapi import ABORT, Protection

try:
    from gssapi import MechType
    from gssapi.raw.types import RequirementFlag

    from socksproxy.gsslayer import (
        GSSAPILayer,
        layerFor,
        readLevel,
        sayLevel,
        serviceName,
        textOf,
    )
except ImportError:
    pass

NONE, INTEGRITY, CONFIDENTIALITY, SELECTIVE = Protection


class ContextTestCase(KerberosTestCase):
    """
    Contexts with both of their sides.
    """

    def contexts(self) -> tuple[Any, Initiator]:
        """
        The context of this side, and the other side.
        """
        acceptor, initiator = Acceptor(self.realm), Initiator()
        initiator.token(acceptor.token(initiator.token()[4:])[4:])
        return acceptor.context, initiator


@needsKerberos
class LevelTests(ContextTestCase):
    """
    What the two agree on.
    """

    def test_said(self) -> None:
        """
        A level is said so that nobody else can say it, or in clear.
        """
        context, other = self.contexts()
        for level in Protection:
            said = sayLevel(context, level, isBare=False)
            self.assertEqual(said[:2], b"\x01\x02")
            self.assertEqual(other.unwrap(said), (bytes((level,)), False))
            said = sayLevel(context, level, isBare=True)
            self.assertEqual(said, b"\x01\x02\x00\x01" + bytes((level,)))

    def test_read(self) -> None:
        """
        It is read from either; from what is in clear only where that may be.
        """
        context, other = self.contexts()
        for level in Protection:
            for nec in (True, False):
                said = other.level(bytes((level,)))[4:]
                self.assertEqual(readLevel(context, said, nec), (level, False))
            said = bytes((level,))
            self.assertEqual(readLevel(context, said, True), (level, True))
            with self.assertRaises(RemoteProtocolError):
                readLevel(context, said, False)

    def test_unknown(self) -> None:
        """
        There are no other levels.
        """
        context, other = self.contexts()
        for level in (b"\x04", b"\xff", b"\x01\x01", b""):
            with self.assertRaises(RemoteProtocolError):
                readLevel(context, other.level(level)[4:], False)
        with self.assertRaises(RemoteProtocolError):
            readLevel(context, b"\x04", True)

    def test_forged(self) -> None:
        """
        Nobody else can say which level it is.
        """
        context, other = self.contexts()
        token = bytearray(other.level(b"\x02")[4:])
        token[-1] ^= 1
        with self.assertRaises(RemoteProtocolError):
            readLevel(context, bytes(token), True)

    def test_enough(self) -> None:
        """
        What is less than it has to be, or more than the context can do, is none.
        """
        integrity = {RequirementFlag.integrity}
        both = {RequirementFlag.integrity, RequirementFlag.confidentiality}
        for flags, level, least, isEnough in (
            (both, NONE, NONE, True),
            (both, NONE, INTEGRITY, False),
            (both, INTEGRITY, INTEGRITY, True),
            (both, INTEGRITY, CONFIDENTIALITY, False),
            (both, CONFIDENTIALITY, INTEGRITY, True),
            (both, CONFIDENTIALITY, CONFIDENTIALITY, True),
            (both, SELECTIVE, CONFIDENTIALITY, True),
            (integrity, INTEGRITY, NONE, True),
            (integrity, SELECTIVE, NONE, True),
            (integrity, CONFIDENTIALITY, NONE, False),
            (integrity, SELECTIVE, CONFIDENTIALITY, False),
            (set(), NONE, NONE, True),
            (set(), INTEGRITY, NONE, False),
        ):
            context: Any = object()
            if isEnough:
                layer = layerFor(context, flags, level, least)
                self.assertEqual(layer is None, level is NONE)
            else:
                with self.assertRaises(ValueError):
                    layerFor(context, flags, level, least)

    def test_encryption(self) -> None:
        """
        Levels 2 and 3 encrypt what is sent.  What comes has to be encrypted at
        level 2, and at level 3 where encryption is demanded.
        """
        flags = {RequirementFlag.integrity, RequirementFlag.confidentiality}
        for level, least, encrypts, demands in (
            (INTEGRITY, NONE, False, False),
            (CONFIDENTIALITY, NONE, True, True),
            (SELECTIVE, NONE, True, False),
            (SELECTIVE, CONFIDENTIALITY, True, True),
        ):
            context, other = self.contexts()
            layer: Any = layerFor(context, flags, level, least)
            self.assertEqual(other.unwrap(layer.wrap(b"out")), (b"out", encrypts))
            received = ReceiveBuffer(other.wrap(b"in", False))
            if demands:
                self.assertRaises(RemoteProtocolError, layer.unwrap, received)
            else:
                self.assertEqual(layer.unwrap(received), b"in")


@needsKerberos
class LayerTests(ContextTestCase):
    """
    L{GSSAPILayer}.
    """

    def layers(self, encrypts: bool = True) -> tuple[Any, Initiator]:
        """
        A layer, and who is at the other end of it.
        """
        context, other = self.contexts()
        return GSSAPILayer(context, encrypts, encrypts), other

    def test_bothWays(self) -> None:
        """
        Messages have integrity, and are encrypted where that was agreed.
        """
        for encrypts in (False, True):
            layer, other = self.layers(encrypts)
            verifyObject(ISecurityLayer, layer)
            data = b"message" * 4000
            frame = layer.wrap(data)
            self.assertEqual(frame[:2], b"\x01\x03")
            self.assertEqual(b"messagemessage" in frame, not encrypts)
            self.assertEqual(other.unwrap(frame), (data, encrypts))
            received = ReceiveBuffer(other.wrap(data, encrypts) + b"\x01")
            self.assertEqual(layer.unwrap(received), data)
            self.assertIsNone(layer.unwrap(received))
            self.assertEqual(received.takeAll(), b"\x01")

    def assertUnwraps(self, layer: Any, frame: bytes, unwraps: bool) -> None:
        if unwraps:
            self.assertEqual(layer.unwrap(ReceiveBuffer(frame)), b"message")
        else:
            with self.assertRaises(RemoteProtocolError):
                layer.unwrap(ReceiveBuffer(frame))

    def test_forged(self) -> None:
        """
        What was changed on its way is refused, and what comes twice.
        """
        layer, other = self.layers()
        frame = other.wrap(b"message")
        for at in range(4, len(frame)):
            forged = bytearray(frame)
            forged[at] ^= 1
            self.assertUnwraps(layer, bytes(forged), False)
        self.assertUnwraps(layer, frame, True)
        self.assertUnwraps(layer, frame, False)

    def test_otherFrames(self) -> None:
        """
        Only messages come from now on.
        """
        layer, other = self.layers()
        for frame in (other.level(b"\x02"), ABORT, b"\x05\x01\0\x01", b"\x01\x03\0\0"):
            self.assertUnwraps(layer, frame, False)

    def test_datagrams(self) -> None:
        """
        A datagram is one frame, the whole of it; their order does not matter.
        """
        layer, other = self.layers()
        first, second = other.wrap(b"first"), other.wrap(b"second")
        self.assertEqual(layer.unwrapDatagram(second), b"second")
        self.assertEqual(layer.unwrapDatagram(first), b"first")
        self.assertEqual(
            other.unwrap(layer.wrapDatagram(b"x" * 60000))[0], b"x" * 60000
        )
        for datagram in (b"", other.wrap(b"x")[:-1], other.wrap(b"x") + b"\x01"):
            with self.assertRaises(RemoteProtocolError):
                layer.unwrapDatagram(datagram)

    def test_longDatagram(self) -> None:
        """
        One that would be too long with its protection cannot be protected.
        """
        layer, _ = self.layers()
        with self.assertRaises(ValueError):
            layer.wrapDatagram(bytes(65530))

    def test_noContext(self) -> None:
        """
        Nothing can be where there is no context yet: it does not go out as it is.
        """
        layer = GSSAPILayer(Acceptor(self.realm).context, True, True)
        with self.assertRaises(ValueError):
            layer.wrap(b"message")


@needsKerberos
class NameTests(KerberosTestCase):
    """
    What services are called, and failures.
    """

    def test_services(self) -> None:
        """
        A service of a host, or a principal.
        """
        for text, principal in (
            ("rcmd@localhost", "rcmd/localhost"),
            ("rcmd/localhost@OTHER", "rcmd/localhost@OTHER"),
        ):
            name = str(serviceName(text).canonicalize(MechType.kerberos))
            self.assertTrue(name.startswith(principal), name)

    def test_text(self) -> None:
        """
        It is quoted, and there is an end to it.
        """
        self.assertEqual(textOf(ValueError("a\nb")), r"'a\nb'")
        self.assertEqual(textOf(ValueError("x" * 1000)), "'" + "x" * 300 + "'")


# It is there to be subclassed.
del KerberosTestCase, ContextTestCase
