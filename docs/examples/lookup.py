"""
Ask a name server through a SOCKS5 proxy, by UDP:

    python lookup.py tcp:127.0.0.1:1080 192.0.2.53 53 example.com
"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.task import react
from twisted.names.dns import Message, Query
from zope.interface import implementer

from socksproxy import Address
from socksproxy.client import SOCKS5ClientEndpoint
from socksproxy.interfaces import IDatagramReceiver


@implementer(IDatagramReceiver)
class Answer:
    def __init__(self):
        self.came = Deferred()

    def datagramReceived(self, data, source):
        self.came.callback(data)

    def datagramDropped(self, data):
        self.came.errback(OSError("it was not sent"))

    def datagramRejected(self, data):
        pass  # a server's own rule, if it has one

    def associationLost(self):
        self.came.errback(OSError("the proxy has ended it"))


async def main(reactor, proxy, server, port, name):
    proxy = clientFromString(reactor, proxy)
    answer = Answer()
    association = await SOCKS5ClientEndpoint(reactor, proxy, "0.0.0.0", 0).associate(
        answer
    )
    query = Message(1, recDes=1)
    query.queries = [Query(name)]
    association.send(query.toStr(), Address.name(server, int(port)))
    message = Message()
    message.fromStr(await answer.came.addTimeout(5, reactor))
    for record in message.answers:
        print(record.payload.dottedQuad())
    association.close()


react(main, sys.argv[1:])
