"""
A name server that says what the test wants.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from twisted.names import dns

from socksproxy.test.processes import PATIENCE
from socksproxy.wire.address import Address

__all__ = ["NameServer", "Question", "answerTo", "record"]


@dataclass(frozen=True, slots=True)
class Question:
    """
    What somebody wants to know.

    @ivar client: who.
    """

    message: dns.Message
    client: Any

    @property
    def name(self) -> bytes:
        return self.message.queries[0].name.name

    @property
    def type(self) -> int:
        return self.message.queries[0].type


def record(name: bytes, payload: Any, ttl: int = 60) -> dns.RRHeader:
    """
    One record of an answer.
    """
    payload.ttl = ttl  # Twisted compares it, too.
    return dns.RRHeader(name, payload.TYPE, dns.IN, ttl, payload)


def answerTo(
    message: dns.Message, *records: dns.RRHeader, **fields: Any
) -> dns.Message:
    """
    The message that answers another one.

    @param fields: attributes that are not as usual.
    """
    answer = dns.Message(message.id, answer=1, recDes=1, recAv=1, maxSize=65535)
    answer.queries = message.queries
    answer.answers = list(records)
    for name, value in fields.items():
        setattr(answer, name, value)
    return answer


class NameServer:
    """
    One on loopback, for UDP.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.bind((host, 0))
        self.address = Address.ip(host, self.socket.getsockname()[1])

    def question(self) -> Question:
        """
        The next one.
        """
        data, client = self.socket.recvfrom(4096)
        message = dns.Message()
        message.fromStr(data)
        return Question(message, client)

    def answer(self, question: Question, *records: dns.RRHeader, **fields: Any) -> None:
        """
        Say something, as in L{answerTo}.
        """
        self.send(answerTo(question.message, *records, **fields).toStr(), question)

    def send(self, data: bytes, question: Question) -> None:
        """
        Say anything.
        """
        self.socket.sendto(data, question.client)

    def close(self) -> None:
        self.socket.close()
