"""
A SOCKS5 proxy with a login of its own: METHOD 80, where the client proves that it
knows a secret without sending it.

    client                                        server
                                                  01 NONCE(32)
    01 NONCE(32) NAME_LENGTH(1) NAME PROOF(32)
                                                  01 STATUS(1), 00 is success

PROOF is the HMAC-SHA256, with the secret as its key, of both nonces, the server's
first, and the name.  Run it with a file that has a line NAME:SECRET for each user:

    python3 docs/examples/challenge.py users 1080
"""

import hmac
import secrets
import sys

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from zope.interface import implementer

from socksproxy import SOCKS5Factory
from socksproxy.interfaces import (
    Continue,
    Denied,
    Granted,
    IAuthenticator,
    Identity,
    INegotiation,
)

VERSION = 1
NONCE = PROOF = 32


def proofOf(secret, serverNonce, clientNonce, name):
    return hmac.digest(secret, serverNonce + clientNonce + name, "sha256")


@implementer(IAuthenticator)
class ChallengeAuthenticator:
    """
    One for the whole server.
    """

    method = 0x80

    def __init__(self, users):
        """
        @param users: the secret of each name, both bytes.
        """
        self._users = users
        # Unknown names take as long as known ones.
        self._nobodys = secrets.token_bytes(32)

    def beginNegotiation(self, session):
        return _Challenge(self)

    def knows(self, name, proof, serverNonce, clientNonce):
        secret = self._users.get(name, self._nobodys)
        expected = proofOf(secret, serverNonce, clientNonce, name)
        return hmac.compare_digest(proof, expected)


@implementer(INegotiation)
class _Challenge:
    """
    One for each connection, with a nonce that is never used again.
    """

    def __init__(self, authenticator):
        self._authenticator = authenticator
        self._nonce = None

    def advance(self, received):
        if self._nonce is None:
            self._nonce = secrets.token_bytes(NONCE)
            return Continue(bytes((VERSION,)) + self._nonce)
        head = received.peek(1)
        if head is not None and head[0] != VERSION:
            return Denied("unknown version of the challenge", bytes((VERSION, 1)))
        head = received.peek(1 + NONCE + 1)
        if head is None:
            return None
        message = received.take(len(head) + head[-1] + PROOF)
        if message is None:
            return None
        clientNonce = message[1 : 1 + NONCE]
        name, proof = message[len(head) : -PROOF], message[-PROOF:]
        if self._authenticator.knows(name, proof, self._nonce, clientNonce):
            identity = Identity(name.decode("utf-8", "surrogateescape"))
            return Granted(identity, bytes((VERSION, 0)))
        return Denied("wrong answer to the challenge", bytes((VERSION, 1)))

    def abandon(self):
        pass


def main(path, port):
    with open(path, "rb") as lines:
        users = dict(line.rstrip(b"\r\n").split(b":", 1) for line in lines)
    factory = SOCKS5Factory(reactor, [ChallengeAuthenticator(users)])
    endpoint = serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1")
    endpoint.listen(factory)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
