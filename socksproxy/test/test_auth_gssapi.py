"""
Tests for L{socksproxy.auth.gssapi}, with a KDC.
"""

from __future__ import annotations

import os
import random
from typing import Any

from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.errors import RemoteProtocolError
from socksproxy.interfaces import (
    Continue,
    Denied,
    Granted,
    IAuthenticator,
    INegotiation,
    ISecurityLayer,
)
from socksproxy.test.kerberos import (
    Initiator,
    KerberosTestCase,
    NegotiationTestCase,
    Realm,
    Threads,
    needsKerberos,
)
from socksproxy.test.securedsuite import SecuredRelaySuite
from socksproxy.testing import FakeSession
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.gssapi import ABORT, Protection

try:
    from gssapi.raw.named_tuples import AcceptSecContextResult
    from gssapi.raw.types import RequirementFlag

    from socksproxy.auth.gssapi import GSSAPIAuthenticator
except ImportError:
    pass

NONE, INTEGRITY, CONFIDENTIALITY, SELECTIVE = Protection


class GSSAPITestCase(NegotiationTestCase):
    """
    Negotiations with this side and with the other one.
    """

    def authenticator(self, **kwargs: Any) -> GSSAPIAuthenticator:
        kwargs.setdefault("keytab", self.realm.keytab)
        return GSSAPIAuthenticator(self.threads, **kwargs)

    def begun(self, **kwargs: Any) -> Any:
        return self.authenticator(**kwargs).beginNegotiation(FakeSession())

    def establish(self, negotiation: Any, client: Initiator) -> int:
        """
        Both sides of a context.

        @return: how many rounds it took.
        """
        rounds = 0
        frame = client.token()
        while frame:
            step = self.advance(negotiation, frame)
            assert isinstance(step, Continue), step
            self.assertIsNone(step.securityLayer)
            rounds += 1
            if not step.response:
                break
            self.assertEqual(step.response[:2], b"\x01\x01")
            frame = client.token(step.response[4:])
        return rounds

    def established(self, **kwargs: Any) -> tuple[Any, Initiator]:
        """
        A negotiation that is about to agree on a level.
        """
        negotiation, client = self.begun(**kwargs), Initiator()
        self.establish(negotiation, client)
        return negotiation, client

    def layers(self, level: int, **kwargs: Any) -> tuple[Any, Initiator]:
        """
        A security layer, and who is at the other end of it.
        """
        negotiation, client = self.established(**kwargs)
        granted = self.advance(negotiation, client.level(bytes((level,))))
        return granted.securityLayer, client

    def assertDenied(self, step: Any, *words: str) -> None:
        """
        The client is told that it is over.
        """
        assert isinstance(step, Denied), step
        self.assertEqual(step.response, ABORT)
        for word in words:
            self.assertIn(word, step.reason)


@needsKerberos
class NegotiationTests(GSSAPITestCase):
    """
    Who it is, and how it is protected.
    """

    def test_interfaces(self) -> None:
        """
        It is an L{IAuthenticator} for METHOD 01, with L{INegotiation}s and
        L{ISecurityLayer}s.
        """
        authenticator = self.authenticator()
        verifyObject(IAuthenticator, authenticator)
        verifyObject(INegotiation, self.begun())
        verifyObject(ISecurityLayer, self.layers(1)[0])
        self.assertEqual(authenticator.method, 1)

    def test_levels(self) -> None:
        """
        The client gets the level that it asks for, in a frame that only the two
        of them can make; it is known by its principal.
        """
        for level in range(4):
            negotiation, client = self.established()
            granted = self.advance(negotiation, client.level(bytes((level,))))
            assert isinstance(granted, Granted)
            self.assertEqual(granted.response[:2], b"\x01\x02")
            answer = client.unwrap(granted.response)
            self.assertEqual(answer, (bytes((level,)), False))
            self.assertEqual(granted.identity.name, "alice@EXAMPLE.TEST")
            self.assertEqual(granted.securityLayer is None, level == 0)

    def test_pieces(self) -> None:
        """
        Nothing is taken of a frame that is not whole, and nothing of what is
        behind it.
        """
        negotiation, client = self.begun(), Initiator()
        token = client.token()
        for split in (0, 1, 2, 3, 4, 100, len(token) - 1):
            received = ReceiveBuffer(token[:split])
            self.assertIsNone(negotiation.advance(received))
            self.assertEqual(len(received), split)
        step = self.advance(negotiation, token)
        client.token(step.response[4:])
        level = client.level(b"\x02")
        for split in range(len(level)):
            received = ReceiveBuffer(level[:split])
            self.assertIsNone(negotiation.advance(received))
            self.assertEqual(len(received), split)
        received = ReceiveBuffer(level + b"more")
        self.assertIsInstance(negotiation.advance(received), Granted)
        self.assertEqual(received.takeAll(), b"more")

    def test_oneRound(self) -> None:
        """
        A client that does not care who the server is gets no token, and goes on.
        """
        negotiation, client = self.begun(), Initiator(flags=("replay_detection",))
        step = self.advance(negotiation, client.token())
        self.assertEqual(step, Continue(b""))
        granted = self.advance(negotiation, client.level(b"\x01"))
        self.assertIsInstance(granted, Granted)

    def test_moreRounds(self) -> None:
        """
        There are as many rounds as the mechanism asks for.
        """
        flags = ("mutual_authentication", "dce_style")
        rounds = self.establish(self.begun(), Initiator(flags=flags))
        self.assertEqual(rounds, 2)

    def test_inThreads(self) -> None:
        """
        A ticket is looked at in a thread; a client that leaves meanwhile is
        forgotten.
        """
        negotiation = self.begun()
        step = negotiation.advance(ReceiveBuffer(Initiator().token()))
        self.assertEqual(len(self.threads.waiting), 1)
        step.addErrback(lambda _: None)
        step.cancel()
        negotiation.abandon()
        self.threads.work()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_replayed(self) -> None:
        """
        What somebody has listened to is no login.
        """
        token = Initiator().token()
        self.assertIsInstance(self.advance(self.begun(), token), Continue)
        self.assertDenied(self.advance(self.begun(), token), "replay")

    def test_noTicket(self) -> None:
        """
        Nor is anything else; what the library says of it is quoted.
        """
        for token in (b"x", bytes(1000), b"\x60\x10\x06\x09\x2a\x86\x48\x86\xf7"):
            frame = Initiator().frame(1, token)
            self.assertDenied(self.advance(self.begun(), frame), "GSSAPI login", "'")

    def test_forgedTicket(self) -> None:
        """
        Nor is one that was changed, which may name a service that nobody has;
        that is quoted, and a part of it will do.
        """
        for name in (b"\xff\xfe\xfd\xfc", b"a\nb'"):
            frame = bytearray(Initiator().token().replace(b"rcmd", name))
            frame[300] ^= 1
            step = self.advance(self.begun(), bytes(frame))
            self.assertDenied(step, "GSSAPI login: ")
            self.assertTrue(step.reason.isprintable())
            self.assertLess(len(step.reason), 400)

    def test_anyTicket(self) -> None:
        """
        Nor is whatever else somebody makes of one.
        """
        token = Initiator().token()
        authenticator = self.authenticator()
        for seed in range(300):
            chance = random.Random(seed)
            frame = bytearray(token)
            for _ in range(chance.randrange(2, 6)):
                frame[chance.randrange(4, len(frame))] = chance.randrange(256)
            negotiation = authenticator.beginNegotiation(FakeSession())
            step = self.advance(negotiation, bytes(frame))
            self.assertIsInstance(step, (Continue, Denied))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_foreignTicket(self) -> None:
        """
        Nor is a ticket for another service, where one is named.
        """
        for service, served in (
            (None, True),
            ("rcmd", True),
            ("rcmd@localhost", True),
            ("rcmd/localhost@EXAMPLE.TEST", True),
            ("rcmd@127.0.0.1", False),
        ):
            step = self.advance(self.begun(service=service), Initiator().token())
            self.assertEqual(isinstance(step, Continue), served, step)

    def test_faultInThread(self) -> None:
        """
        What is not the client's fault is not taken for it.
        """
        negotiation = self.begun()
        negotiation._authenticator.credentials = 17
        step = negotiation.advance(ReceiveBuffer(Initiator().token()))
        self.threads.work()
        self.failureResultOf(step, TypeError)

    def test_wrongOrder(self) -> None:
        """
        First the tokens, then the level, then nothing.
        """
        frame = Initiator().frame
        for type in (2, 3):
            self.assertDenied(self.advance(self.begun(), frame(type, b"x")), "order")
        for type in (1, 3):
            negotiation, _ = self.established()
            self.assertDenied(self.advance(negotiation, frame(type, b"x")), "order")

    def test_noFrame(self) -> None:
        """
        What is no frame ends it.
        """
        self.assertDenied(self.begun().advance(ReceiveBuffer(b"\x05\x01\0")), "version")

    def test_clientGivesUp(self) -> None:
        """
        A client that gives up is told nothing.
        """
        step = self.advance(self.begun(), ABORT)
        assert isinstance(step, Denied)
        self.assertEqual(step.response, b"")

    def test_least(self) -> None:
        """
        Who wants less protection than it has to have is refused.
        """
        for least, wanted, granted in (
            (INTEGRITY, NONE, False),
            (INTEGRITY, INTEGRITY, True),
            (INTEGRITY, SELECTIVE, True),
            (CONFIDENTIALITY, NONE, False),
            (CONFIDENTIALITY, INTEGRITY, False),
            (CONFIDENTIALITY, CONFIDENTIALITY, True),
            (CONFIDENTIALITY, SELECTIVE, True),
        ):
            negotiation, client = self.established(least=least)
            step = self.advance(negotiation, client.level(bytes((wanted,))))
            if granted:
                self.assertIsInstance(step, Granted)
            else:
                self.assertDenied(step, "less protection")

    def test_noProtection(self) -> None:
        """
        Where there is none to be had all are told so, whatever they want.
        """
        for wanted in Protection:
            negotiation, client = self.established(protects=False)
            granted = self.advance(negotiation, client.level(bytes((wanted,))))
            self.assertEqual(client.unwrap(granted.response)[0], b"\0")
            self.assertIsNone(granted.securityLayer)
        with self.assertRaises(ValueError):
            self.authenticator(protects=False, least=INTEGRITY)

    def test_nec(self) -> None:
        """
        A level in clear is answered in clear where that is permitted, and refused
        elsewhere; one that is protected is welcome in either case.
        """
        negotiation, client = self.established(nec=True)
        granted = self.advance(negotiation, client.level(b"\x02", nec=True))
        self.assertEqual(granted.response, b"\x01\x02\x00\x01\x02")
        self.assertIsNotNone(granted.securityLayer)
        negotiation, client = self.established(nec=True)
        granted = self.advance(negotiation, client.level(b"\x02"))
        self.assertEqual(client.unwrap(granted.response), (b"\x02", False))
        negotiation, client = self.established()
        self.assertDenied(self.advance(negotiation, client.level(b"\x02", nec=True)))

    def test_unknownLevel(self) -> None:
        """
        There are no other levels.
        """
        for level in (b"\x04", b"\xff", b"\x01\x01", b""):
            negotiation, client = self.established()
            self.assertDenied(self.advance(negotiation, client.level(level)), "level")
        negotiation, client = self.established(nec=True)
        self.assertDenied(self.advance(negotiation, client.level(b"\x04", nec=True)))

    def test_forgedLevel(self) -> None:
        """
        Nobody else can say which level it is.
        """
        negotiation, client = self.established()
        frame = bytearray(client.level(b"\x02"))
        frame[-1] ^= 1
        self.assertDenied(self.advance(negotiation, bytes(frame)), "level")

    def test_whatTheContextCannotDo(self) -> None:
        """
        A level that the two have no means for is refused; so is a client whose
        name nobody is told.
        """
        integrity = {RequirementFlag.integrity}
        for flags, least, wanted, granted in (
            (set(), NONE, NONE, True),
            (set(), NONE, INTEGRITY, False),
            (integrity, NONE, INTEGRITY, True),
            (integrity, NONE, SELECTIVE, True),
            (integrity, NONE, CONFIDENTIALITY, False),
            (integrity, CONFIDENTIALITY, SELECTIVE, False),
        ):
            negotiation, client = self.established(least=least)
            negotiation._flags = flags
            step = self.advance(negotiation, client.level(bytes((wanted,))))
            self.assertEqual(isinstance(step, Granted), granted, (flags, wanted))
        negotiation, client = self.established()
        name: Any = negotiation._authenticator.credentials.name
        nothing: Any = None
        anonymous: Any = {RequirementFlag.anonymity}
        result = AcceptSecContextResult(
            negotiation._context, name, nothing, b"token", anonymous, 0, None, False
        )
        self.assertDenied(negotiation._accepted(result), "nobody")

    def test_encryption(self) -> None:
        """
        What is not encrypted is refused at level 2, and at level 3 where
        encryption is demanded.
        """
        for level, least, demanded in (
            (1, NONE, False),
            (2, NONE, True),
            (3, NONE, False),
            (3, CONFIDENTIALITY, True),
        ):
            layer, client = self.layers(level, least=least)
            received = ReceiveBuffer(client.wrap(b"message", False))
            if demanded:
                self.assertRaises(RemoteProtocolError, layer.unwrap, received)
            else:
                self.assertEqual(layer.unwrap(received), b"message")
            self.assertEqual(client.unwrap(layer.wrap(b"answer"))[1], level != 1)

    def test_noKeys(self) -> None:
        """
        Without keys there is no authenticator, and it says why.
        """
        for kwargs, word in (
            ({"keytab": self.realm.path("nothing")}, "nothing"),
            ({"service": "http"}, "http"),
            ({"service": "rcmd@elsewhere"}, "elsewhere"),
        ):
            with self.assertRaises(ValueError) as raised:
                self.authenticator(**kwargs)
            self.assertIn(word, str(raised.exception))

    def test_systemsKeytab(self) -> None:
        """
        Without a file it is the system's.
        """
        os.environ["KRB5_KTNAME"] = self.realm.keytab
        self.addCleanup(os.environ.pop, "KRB5_KTNAME")
        negotiation = self.begun(keytab=None)
        self.assertEqual(self.establish(negotiation, Initiator()), 1)


@implementer(ISecurityLayer)
class InitiatorLayer:
    """
    The client's end, for the relay's tests.
    """

    def __init__(self, client: Initiator) -> None:
        self.wrap = client.wrap
        self._client = client

    def unwrap(self, received: ReceiveBuffer) -> bytes | None:
        head = received.peek(4)
        frame = head and received.take(4 + int.from_bytes(head[2:], "big"))
        return self._client.unwrap(frame)[0] if frame else None

    def wrapDatagram(self, datagram: bytes) -> bytes:
        raise NotImplementedError

    def unwrapDatagram(self, datagram: bytes) -> bytes:
        raise NotImplementedError


@needsKerberos
class GSSAPIRelayTests(SecuredRelaySuite):
    """
    A relay keeps its promises for a client that is protected by GSSAPI.
    """

    # Each sequence has a login of its own.
    seeds = "0:200"

    def setUp(self) -> None:
        self.realm = realm = Realm()
        self.addCleanup(realm.stop)
        realm.start()
        realm.enter(self.addCleanup)
        super().setUp()

    def layers(self) -> tuple[ISecurityLayer, ISecurityLayer]:
        threads, client = Threads(), Initiator()
        authenticator = GSSAPIAuthenticator(threads, keytab=self.realm.keytab)
        negotiation: Any = authenticator.beginNegotiation(FakeSession())
        steps: list[Continue] = []
        accepting = negotiation.advance(ReceiveBuffer(client.token()))
        accepting.addCallback(steps.append)
        threads.work()
        client.token(steps[0].response[4:])
        granted = negotiation.advance(ReceiveBuffer(client.level(b"\x02")))
        client.unwrap(granted.response)
        return InitiatorLayer(client), granted.securityLayer


# They are there to be subclassed.
del SecuredRelaySuite, KerberosTestCase
