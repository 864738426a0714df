"""
Have a SOCKS5 proxy take one connection for us, as FTP in active mode wants it, and
print what comes:

    python ftpdata.py tcp:127.0.0.1:1080 192.0.2.1
"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react

from socksproxy.client import SOCKS5ClientEndpoint


class Data(Protocol):
    def connectionMade(self):
        self.ended = Deferred()

    def dataReceived(self, data):
        print(data.decode(), end="")

    def connectionLost(self, reason):
        self.ended.callback(None)


async def main(reactor, proxy, server):
    proxy = clientFromString(reactor, proxy)
    endpoint = SOCKS5ClientEndpoint(reactor, proxy, server, 0)
    binding = await endpoint.bind(Factory.forProtocol(Data))
    print(binding.address, flush=True)  # this is for the server to know
    protocol = await binding.accepted
    print(binding.peer, flush=True)
    await protocol.ended


react(main, sys.argv[1:])
