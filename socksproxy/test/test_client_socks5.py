"""
Tests for L{socksproxy.client.socks5}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.client.errors import (
    LoginRefused,
    NoAcceptableMethod,
    ProxyProtocolError,
)
from socksproxy.client.interfaces import (
    Accepted,
    ClientStep,
    IClientAuthenticator,
    IClientNegotiation,
    IConversation,
    Replied,
)
from socksproxy.client.login import NoLogin, PasswordLogin
from socksproxy.client.socks5 import SOCKS5Conversation
from socksproxy.errors import RemoteProtocolError, RequestFailed
from socksproxy.interfaces import Continue, Denied
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command, ReplyCode
from socksproxy.wire.socks5 import Reply

TARGET = Address.name("example.org", 443)
REQUEST = b"\x05\x01\0\x03\x0bexample.org\x01\xbb"
LOGIN = b"\x01\x03ann\x02pw"
SUCCESS = b"\x05\0\0\x01\xc0\0\x02\x01\x04\x38"
BOUND = Address.ip("192.0.2.1", 1080)


def conversation(*authenticators: IClientAuthenticator) -> SOCKS5Conversation:
    """
    One that wants to connect.
    """
    return SOCKS5Conversation(Command.CONNECT, TARGET, authenticators or (NoLogin(),))


def said(talk: IConversation, *received: bytes) -> list[object]:
    """
    What C{talk} makes of it when C{received} comes, piece by piece.
    """
    buffer = ReceiveBuffer()
    steps: list[object] = []

    def advance() -> None:
        while (step := talk.advance(buffer)) is not None:
            steps.append(step)
            if isinstance(step, (Replied, Deferred, Denied)):
                return

    advance()
    for piece in received:
        buffer.feed(piece)
        advance()
    if buffer:
        steps.append(buffer.takeAll())
    return steps


@implementer(IClientAuthenticator, IClientNegotiation)
class PrivateMethod:
    """
    Two rounds, and a security layer.
    """

    method = 0x80
    isOneWay = False
    layer: Any = object()

    def __init__(self, *steps: ClientStep | Deferred[ClientStep] | None) -> None:
        self._steps = list(steps)
        self.abandoned = 0

    def beginNegotiation(self, command: Command) -> IClientNegotiation:
        return self

    def advance(
        self, received: ReceiveBuffer
    ) -> ClientStep | Deferred[ClientStep] | None:
        if not self._steps:
            return None
        if self._steps[0] is None:
            if not received:
                return None
            received.takeAll()
            del self._steps[0]
        return self._steps.pop(0)

    def abandon(self) -> None:
        self.abandoned += 1


class ConversationTests(SynchronousTestCase):
    """
    Greeting, negotiation, request, reply.
    """

    def test_interface(self) -> None:
        """
        It is what a handshake expects.
        """
        verifyObject(IConversation, conversation())

    def test_noLogin(self) -> None:
        """
        A greeting that offers nothing, a request, and the reply's address.
        """
        self.assertEqual(
            said(conversation(), b"\x05\0", SUCCESS + b"rest"),
            [Continue(b"\x05\x01\0"), Continue(REQUEST), Replied(BOUND), b"rest"],
        )

    def test_login(self) -> None:
        """
        The proxy chooses of what is offered; a login comes before the request.
        """
        talk = conversation(NoLogin(), PasswordLogin("ann", "pw"))
        self.assertEqual(
            said(talk, b"\x05\x02", b"\x01\0", SUCCESS),
            [
                Continue(b"\x05\x02\0\x02"),
                Continue(LOGIN),
                Continue(REQUEST),
                Replied(BOUND),
            ],
        )

    def test_everySplit(self) -> None:
        """
        What the proxy says may come in any pieces.
        """
        everything = b"\x05\x02\x01\0" + SUCCESS
        for cut in range(1, len(everything)):
            talk = conversation(PasswordLogin("ann", "pw"))
            steps = said(talk, everything[:cut], everything[cut:] + b"rest")
            self.assertEqual(steps[-2:], [Replied(BOUND), b"rest"])
        talk = conversation(PasswordLogin("ann", "pw"))
        self.assertEqual(
            said(talk, *(bytes((octet,)) for octet in everything))[-1], Replied(BOUND)
        )

    def test_replies(self) -> None:
        """
        Each reply that is not success is an error that causes the same reply.
        """
        for code in list(ReplyCode)[1:]:
            wrong = self.assertRaises(
                RequestFailed, said, conversation(), b"\x05\0", Reply(code).encode()
            )
            self.assertIs(wrong.reply, code)
            self.assertIn("the proxy answered", str(wrong))

    def test_isRequested(self) -> None:
        """
        From the request on it is the target that the proxy speaks of.
        """
        talk = conversation(PasswordLogin("ann", "pw"))
        buffer = ReceiveBuffer(b"\x05\x02\x01")
        while talk.advance(buffer) is not None:
            self.assertFalse(talk.isRequested)
        buffer.feed(b"\0")
        self.assertEqual(talk.advance(buffer), Continue(REQUEST))
        self.assertTrue(talk.isRequested)

    def test_noAcceptableMethod(self) -> None:
        """
        FF has an error of its own.
        """
        self.assertRaises(NoAcceptableMethod, said, conversation(), b"\x05\xff")

    def test_methodNotOffered(self) -> None:
        """
        A method that was not offered is the proxy's fault: no password is sent
        to it.
        """
        self.assertRaises(ProxyProtocolError, said, conversation(), b"\x05\x02")

    def test_loginRefused(self) -> None:
        """
        So has a login that is refused.
        """
        talk = conversation(PasswordLogin("ann", "pw"))
        wrong = self.assertRaises(LoginRefused, said, talk, b"\x05\x02", b"\x01\x01")
        self.assertNotIn("pw", str(wrong))

    def test_garbage(self) -> None:
        """
        What is not SOCKS5 is told as soon as it is there.
        """
        for pieces in ((b"HTTP",), (b"\x05\0", b"\x04"), (b"\x05\0", b"\x05\x09")):
            self.assertRaises(RemoteProtocolError, said, conversation(), *pieces)

    def test_secondReply(self) -> None:
        """
        Whoever asks on gets the second reply, which BIND has.
        """
        talk = SOCKS5Conversation(Command.BIND, TARGET)
        self.assertEqual(said(talk, b"\x05\0", SUCCESS)[-1], Replied(BOUND))
        self.assertEqual(
            talk.advance(ReceiveBuffer(Reply(ReplyCode(0), TARGET).encode())),
            Replied(TARGET),
        )

    def test_nothingToOffer(self) -> None:
        """
        There has to be a method.
        """
        self.assertRaises(ValueError, SOCKS5Conversation, 1, TARGET, ())


class PrivateMethodTests(SynchronousTestCase):
    """
    Somebody else's method.
    """

    def test_rounds(self) -> None:
        """
        It may take as many rounds as it likes, and then install a layer before
        the request is sent.
        """
        layer = PrivateMethod.layer
        method = PrivateMethod(
            Continue(b"one"), None, Continue(b"two"), None, Accepted(b"three", layer)
        )
        self.assertEqual(
            said(conversation(method), b"\x05\x80", b"x", b"y", SUCCESS),
            [
                Continue(b"\x05\x01\x80"),
                Continue(b"one"),
                Continue(b"two"),
                Continue(b"three", layer),
                Continue(REQUEST),
                Replied(BOUND),
            ],
        )

    def test_deferred(self) -> None:
        """
        A step may take its time.
        """
        waiting: Deferred[ClientStep] = Deferred()
        talk = conversation(PrivateMethod(waiting))
        steps = said(talk, b"\x05\x80")
        step = steps[-1]
        assert isinstance(step, Deferred)
        self.assertNoResult(step)
        waiting.callback(Accepted())
        self.assertEqual(self.successResultOf(step), Continue(REQUEST))

    def test_denied(self) -> None:
        """
        A negotiation may end it, with something to say.
        """
        denied = Denied("no ticket", b"\x01\xff")
        talk = conversation(PrivateMethod(denied))
        self.assertEqual(said(talk, b"\x05\x80")[-1], denied)

    def test_abandon(self) -> None:
        """
        A negotiation under way is told when the connection is gone, once.
        """
        method = PrivateMethod(None)
        talk = conversation(method)
        talk.abandon()
        self.assertEqual(method.abandoned, 0)
        said(talk, b"\x05\x80")
        talk.abandon()
        talk.abandon()
        self.assertEqual(method.abandoned, 1)


class PipelinedTests(SynchronousTestCase):
    """
    Everything at once.
    """

    def test_noLogin(self) -> None:
        """
        Greeting and request are one write.
        """
        talk = SOCKS5Conversation(1, TARGET, isPipelined=True)  # type: ignore[arg-type]
        self.assertFalse(talk.isRequested)
        self.assertEqual(
            said(talk, b"\x05\0" + SUCCESS + b"rest"),
            [Continue(b"\x05\x01\0" + REQUEST), Continue(b""), Replied(BOUND), b"rest"],
        )
        self.assertTrue(talk.isRequested)

    def test_login(self) -> None:
        """
        The login too.
        """
        login = PasswordLogin("ann", "pw")
        everything = b"\x05\x02\x01\0" + SUCCESS
        for cut in range(1, len(everything)):
            talk = SOCKS5Conversation(Command.CONNECT, TARGET, (login,), True)
            self.assertEqual(
                said(talk, everything[:cut], everything[cut:]),
                [
                    Continue(b"\x05\x01\x02" + LOGIN + REQUEST),
                    Continue(b""),
                    Replied(BOUND),
                ],
            )

    def test_loginRefused(self) -> None:
        """
        A login that is refused is told as one.
        """
        login = PasswordLogin("ann", "pw")
        talk = SOCKS5Conversation(Command.CONNECT, TARGET, (login,), True)
        self.assertRaises(LoginRefused, said, talk, b"\x05\x02\x01\x01")

    def test_noChoice(self) -> None:
        """
        There can be only one method, of one message.
        """
        for methods in (
            (NoLogin(), PasswordLogin("ann", "pw")),
            (PrivateMethod(),),
        ):
            self.assertRaises(
                ValueError, SOCKS5Conversation, Command.CONNECT, TARGET, methods, True
            )
