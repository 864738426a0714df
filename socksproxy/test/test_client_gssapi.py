"""
Tests for L{socksproxy.client.gssapi}, with a KDC.
"""

from __future__ import annotations

import os
import sys
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import socksproxy.client
from socksproxy.client.errors import (
    LoginRefused,
    NoTicket,
    ProxyProtocolError,
    TooLittleProtection,
)
from socksproxy.client.interfaces import (
    Accepted,
    IClientAuthenticator,
    IClientNegotiation,
)
from socksproxy.errors import RemoteProtocolError
from socksproxy.interfaces import Continue
from socksproxy.test.kerberos import (
    Acceptor,
    KerberosTestCase,
    NegotiationTestCase,
    Threads,
    needsKerberos,
)
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command
from socksproxy.wire.gssapi import ABORT, Protection

try:
    from gssapi.raw.types import RequirementFlag

    from socksproxy.client.gssapi import GSSAPILogin
except ImportError:
    pass

NONE, INTEGRITY, CONFIDENTIALITY, SELECTIVE = Protection


class GSSAPITestCase(NegotiationTestCase):
    """
    Negotiations with this side and with the other one.
    """

    def login(self, **kwargs: Any) -> GSSAPILogin:
        kwargs.setdefault("host", "localhost")
        return GSSAPILogin(self.threads, **kwargs)

    def begun(self, command: Command = Command.CONNECT, **kwargs: Any) -> Any:
        return self.login(**kwargs).beginNegotiation(command)

    def failed(self, negotiation: Any, data: bytes = b"") -> Any:
        """
        What it fails with on its thread after C{data}.
        """
        step = negotiation.advance(ReceiveBuffer(data))
        self.threads.work()
        return self.failureResultOf(step).value

    def established(
        self, command: Command = Command.CONNECT, **kwargs: Any
    ) -> tuple[Any, Acceptor, bytes]:
        """
        A negotiation that has said which level it wants, the proxy, and the frame
        in which it was said.
        """
        negotiation, proxy = self.begun(command, **kwargs), Acceptor(self.realm)
        first = self.advance(negotiation)
        self.assertEqual(first.response[:2], b"\x01\x01")
        second = self.advance(negotiation, proxy.token(first.response[4:]))
        for step in (first, second):
            assert isinstance(step, Continue), step
            self.assertIsNone(step.securityLayer)
        return negotiation, proxy, second.response

    def layers(
        self, level: Protection, command: Command = Command.CONNECT
    ) -> tuple[Any, Acceptor]:
        """
        A security layer, and who is at the other end of it.
        """
        negotiation, proxy, _ = self.established(command, protection=level)
        accepted = self.advance(negotiation, proxy.level(bytes((level,))))
        return accepted.securityLayer, proxy


@needsKerberos
class NegotiationTests(GSSAPITestCase):
    """
    Rounds, then a level.
    """

    def test_interfaces(self) -> None:
        """
        It is an L{IClientAuthenticator} for METHOD 01, with
        L{IClientNegotiation}s; it takes more than one message.
        """
        login = self.login()
        verifyObject(IClientAuthenticator, login)
        verifyObject(IClientNegotiation, self.begun())
        self.assertEqual((login.method, login.isOneWay), (1, False))
        self.assertEqual(repr(login), "<GSSAPILogin 'rcmd@localhost'>")

    def test_levels(self) -> None:
        """
        The proxy is told which level is wanted in a frame that only the two can
        make, and protects what follows by it.
        """
        for level in Protection:
            negotiation, proxy, said = self.established(protection=level)
            self.assertEqual(said[:2], b"\x01\x02")
            self.assertEqual(proxy.unwrap(said), (bytes((level,)), False))
            accepted = self.advance(negotiation, proxy.level(bytes((level,))))
            layer = accepted.securityLayer
            self.assertEqual(accepted, Accepted(b"", layer))
            if level is NONE:
                self.assertIsNone(layer)
                continue
            encrypts = level is not INTEGRITY
            self.assertEqual(proxy.unwrap(layer.wrap(b"out")), (b"out", encrypts))
            received = ReceiveBuffer(proxy.wrap(b"in", encrypts))
            self.assertEqual(layer.unwrap(received), b"in")

    def test_pieces(self) -> None:
        """
        Nothing is taken of a frame that is not whole, and nothing of what is
        behind it.
        """
        negotiation, proxy = self.begun(), Acceptor(self.realm)
        first = self.advance(negotiation)
        token = proxy.token(first.response[4:])
        for frame in (token, None):
            if frame is None:
                frame = proxy.level(b"\x02")
            for split in range(len(frame)):
                received = ReceiveBuffer(frame[:split])
                self.assertIsNone(negotiation.advance(received))
                self.assertEqual(len(received), split)
            received = ReceiveBuffer(frame + b"more")
            step = negotiation.advance(received)
            self.threads.work()
            self.assertEqual(received.takeAll(), b"more")
        self.assertIsInstance(step, Accepted)

    def test_inThreads(self) -> None:
        """
        The KDC is asked on a thread; whoever has left meanwhile hears nothing.
        """
        negotiation = self.begun()
        asked = self.realm.environment["KRB5CCNAME"].removeprefix("FILE:")
        before = os.path.getsize(asked)
        step = negotiation.advance(ReceiveBuffer())
        self.assertNoResult(step)
        self.assertEqual(os.path.getsize(asked), before)
        step.addErrback(lambda _: None)
        step.cancel()
        negotiation.abandon()
        self.threads.work()
        self.assertGreater(os.path.getsize(asked), before)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_pool(self) -> None:
        """
        The threads can be others than the reactor's.
        """
        pool = Threads()
        step: Any = self.begun(pool=pool).advance(ReceiveBuffer())
        self.assertEqual(self.threads.waiting, [])
        pool.work()
        self.assertIsInstance(self.successResultOf(step), Continue)

    def test_moreRounds(self) -> None:
        """
        There are as many rounds as the mechanism asks for; the last token and the
        level go out together.
        """
        negotiation, proxy = self.begun(), Acceptor(self.realm)
        negotiation._wanted.append(RequirementFlag.dce_style)
        first = self.advance(negotiation)
        second = self.advance(negotiation, proxy.token(first.response[4:]))
        size = int.from_bytes(second.response[2:4], "big")
        last, level = second.response[: 4 + size], second.response[4 + size :]
        self.assertEqual(proxy.token(last[4:]), b"")
        self.assertEqual(proxy.unwrap(level), (b"\x02", False))

    def test_proxyChooses(self) -> None:
        """
        The proxy may have another opinion on the level, as far as it is not less
        than what is demanded: that is what was wanted, unless something else is.
        """
        for wanted, least, chosen, isEnough in (
            (CONFIDENTIALITY, None, NONE, False),
            (CONFIDENTIALITY, None, INTEGRITY, False),
            (CONFIDENTIALITY, None, SELECTIVE, True),
            (CONFIDENTIALITY, INTEGRITY, INTEGRITY, True),
            (CONFIDENTIALITY, INTEGRITY, NONE, False),
            (CONFIDENTIALITY, NONE, NONE, True),
            (INTEGRITY, None, NONE, False),
            (INTEGRITY, None, CONFIDENTIALITY, True),
            (SELECTIVE, None, NONE, False),
            (SELECTIVE, None, INTEGRITY, True),
            (SELECTIVE, None, CONFIDENTIALITY, True),
            (NONE, None, INTEGRITY, True),
        ):
            negotiation, proxy, _ = self.established(protection=wanted, least=least)
            said = ReceiveBuffer(proxy.level(bytes((chosen,))))
            if isEnough:
                accepted = negotiation.advance(said)
                self.assertEqual(accepted.securityLayer is None, chosen is NONE)
            else:
                wrong = self.assertRaises(
                    TooLittleProtection, negotiation.advance, said
                )
                self.assertIn(chosen.name.lower(), str(wrong))

    def test_nec(self) -> None:
        """
        With the option the level is said in clear, and may be answered so; without
        it that is not accepted.
        """
        negotiation, proxy, said = self.established(nec=True)
        self.assertEqual(said, b"\x01\x02\x00\x01\x02")
        accepted = self.advance(negotiation, proxy.level(b"\x02", nec=True))
        self.assertIsNotNone(accepted.securityLayer)
        negotiation, proxy, _ = self.established(nec=True)
        accepted = self.advance(negotiation, proxy.level(b"\x02"))
        self.assertIsNotNone(accepted.securityLayer)
        negotiation, proxy, _ = self.established(nec=True)
        lowered = ReceiveBuffer(proxy.level(b"\x00", nec=True))
        self.assertRaises(TooLittleProtection, negotiation.advance, lowered)
        negotiation, proxy, _ = self.established()
        bare = ReceiveBuffer(proxy.level(b"\x02", nec=True))
        self.assertRaises(RemoteProtocolError, negotiation.advance, bare)

    def test_refused(self) -> None:
        """
        The proxy can give up at any time.
        """
        negotiation = self.begun()
        self.advance(negotiation)
        wrong = self.assertRaises(
            LoginRefused, negotiation.advance, ReceiveBuffer(ABORT)
        )
        self.assertIn("login", str(wrong))
        negotiation, _, _ = self.established()
        wrong = self.assertRaises(
            LoginRefused, negotiation.advance, ReceiveBuffer(ABORT)
        )
        self.assertIn("level of protection", str(wrong))

    def test_wrongOrder(self) -> None:
        """
        First the tokens, then the level; nothing else.
        """
        for type in (2, 3):
            negotiation = self.begun()
            self.advance(negotiation)
            frame = ReceiveBuffer(bytes((1, type, 0, 1, 2)))
            self.assertRaises(RemoteProtocolError, negotiation.advance, frame)
        for type in (1, 3):
            negotiation, _, _ = self.established()
            frame = ReceiveBuffer(bytes((1, type, 0, 1, 2)))
            self.assertRaises(RemoteProtocolError, negotiation.advance, frame)
        negotiation = self.begun()
        self.advance(negotiation)
        self.assertRaises(
            RemoteProtocolError, negotiation.advance, ReceiveBuffer(b"\x05\0")
        )

    def test_otherProxy(self) -> None:
        """
        A proxy that has not got the key of the service is told from one that has.
        """
        negotiation, proxy = self.begun(), Acceptor(self.realm)
        frame = bytearray(proxy.token(self.advance(negotiation).response[4:]))
        frame[-1] ^= 1
        wrong = self.failed(negotiation, bytes(frame))
        self.assertIsInstance(wrong, ProxyProtocolError)
        self.assertIn("the proxy's side", str(wrong))
        negotiation = self.begun()
        self.advance(negotiation)
        self.assertIsInstance(
            self.failed(negotiation, b"\x01\x01\0\x03abc"), ProxyProtocolError
        )


@needsKerberos
class ContextTests(GSSAPITestCase):
    """
    What is asked of the two sides.
    """

    def test_sequence(self) -> None:
        """
        Of a connection nothing can be left out and nothing put elsewhere, either
        way.
        """
        layer, proxy = self.layers(CONFIDENTIALITY)
        first, second = proxy.wrap(b"first"), proxy.wrap(b"second")
        with self.assertRaises(RemoteProtocolError):
            layer.unwrap(ReceiveBuffer(second))
        layer, proxy = self.layers(CONFIDENTIALITY)
        first, second = layer.wrap(b"first"), layer.wrap(b"second")
        with self.assertRaises(Exception) as raised:
            proxy.unwrap(second)
        self.assertEqual(type(raised.exception).__module__, "gssapi.raw.exceptions")
        self.assertNotEqual(first, second)

    def test_datagrams(self) -> None:
        """
        Of datagrams some may be lost, and others come before them; none comes
        twice.
        """
        layer, proxy = self.layers(CONFIDENTIALITY, Command.UDP_ASSOCIATE)
        first, _, third = (proxy.wrap(data) for data in (b"1", b"2", b"3"))
        self.assertEqual(layer.unwrapDatagram(third), b"3")
        self.assertEqual(layer.unwrapDatagram(first), b"1")
        with self.assertRaises(RemoteProtocolError):
            layer.unwrapDatagram(first)
        first, _, third = (layer.wrapDatagram(data) for data in (b"1", b"2", b"3"))
        self.assertEqual(proxy.unwrap(third), (b"3", True))
        self.assertEqual(proxy.unwrap(first), (b"1", True))

    def test_flags(self) -> None:
        """
        The proxy has to show who it is; it does not get our ticket.
        """
        _, proxy, _ = self.established()
        flags = proxy.context.actual_flags
        self.assertIn(RequirementFlag.mutual_authentication, flags)
        self.assertIn(RequirementFlag.replay_detection, flags)
        self.assertNotIn(RequirementFlag.delegate_to_peer, flags)


@needsKerberos
class TicketTests(GSSAPITestCase):
    """
    Who we are, and who the proxy is.
    """

    def test_services(self) -> None:
        """
        A service of the proxy's host, or a principal.
        """
        for host, service in (
            ("localhost", "rcmd"),
            ("127.0.0.1", "rcmd"),
            ("elsewhere", "rcmd/localhost"),
            ("elsewhere", "rcmd/127.0.0.1@EXAMPLE.TEST"),
        ):
            negotiation, proxy, _ = self.established(host=host, service=service)
            self.advance(negotiation, proxy.level(b"\x02"))
            name = str(proxy.context.target_name)
            self.assertTrue(
                name.startswith(service if "/" in service else f"rcmd/{host}"), name
            )

    def test_unknownService(self) -> None:
        """
        The KDC has no ticket for a service that it does not know; which one that
        is is told.
        """
        for host, service in (("localhost", "socks"), ("elsewhere", "rcmd")):
            wrong = self.failed(self.begun(host=host, service=service))
            self.assertIsInstance(wrong, NoTicket)
            self.assertIn(f"{service}@{host}", str(wrong))
            self.assertIn("not found in Kerberos database", str(wrong))
            self.assertTrue(str(wrong).isprintable())

    def test_noTicket(self) -> None:
        """
        Without a ticket of one's own there is none for the proxy.
        """
        nowhere = "FILE:" + self.realm.path("nowhere")
        wrong = self.failed(self.begun(tickets=nowhere))
        self.assertIsInstance(wrong, NoTicket)
        self.assertIn("No credentials cache found", str(wrong))
        os.environ["KRB5CCNAME"] = nowhere
        self.assertIsInstance(self.failed(self.begun()), NoTicket)

    def test_tickets(self) -> None:
        """
        They can be elsewhere than the system has them, and are looked for each
        time.
        """
        mine = os.environ["KRB5CCNAME"]
        os.environ["KRB5CCNAME"] = "FILE:" + self.realm.path("nowhere")
        login = self.login(tickets="FILE:" + self.realm.path("later"))
        self.assertIsInstance(
            self.failed(login.beginNegotiation(Command.CONNECT)), NoTicket
        )
        os.rename(mine.removeprefix("FILE:"), self.realm.path("later"))
        step = self.advance(login.beginNegotiation(Command.CONNECT))
        proxy = Acceptor(self.realm)
        proxy.token(step.response[4:])
        self.assertEqual(str(proxy.context.initiator_name), "alice@EXAMPLE.TEST")

    def test_noKDC(self) -> None:
        """
        A KDC that does not answer is told as such.
        """
        self.realm.stopKDC()
        wrong = self.failed(self.begun())
        self.assertIsInstance(wrong, NoTicket)
        self.assertIn("KDC", str(wrong))

    def test_fault(self) -> None:
        """
        What is nobody's fault but ours is not taken for a missing ticket.
        """
        negotiation = self.begun()
        negotiation._wanted = 17.5
        self.assertNotIsInstance(self.failed(negotiation), NoTicket)


class ExportTests(SynchronousTestCase):
    """
    It is part of L{socksproxy.client} for those who have the package.
    """

    @needsKerberos
    def test_there(self) -> None:
        """
        It is there.
        """
        self.assertIs(socksproxy.client.GSSAPILogin, GSSAPILogin)

    def test_noPackage(self) -> None:
        """
        Without the package it says what to install; all else is there.
        """
        gone = dict.fromkeys(("gssapi", "socksproxy.client.gssapi"))
        with patch.dict(sys.modules, gone):
            with self.assertRaises(ImportError) as raised:
                from socksproxy.client import GSSAPILogin  # noqa: F401
            self.assertIn("pip install 'socksproxy[gssapi]'", str(raised.exception))
            from socksproxy.client import NoTicket  # noqa: F401

    def test_nothingElse(self) -> None:
        """
        What is not there is not.
        """
        module: Any = socksproxy.client
        with self.assertRaises(AttributeError):
            module.somethingElse  # noqa: B018


# It is there to be subclassed.
del KerberosTestCase, GSSAPITestCase
