"""
Fetch pages with treq through a SOCKS5 proxy, which resolves their names:

    python get.py tcp:127.0.0.1:1080 https://example.com/
"""

import sys

import treq
from twisted.internet.endpoints import clientFromString, wrapClientTLS
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import react
from twisted.web.client import Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from socksproxy.client import SOCKS5ClientEndpoint


@implementer(IAgentEndpointFactory)
class ThroughProxy:
    """
    The way to each origin.
    """

    def __init__(self, reactor, proxy):
        self.reactor = reactor
        self.proxy = proxy

    def endpointForURI(self, uri):
        endpoint = SOCKS5ClientEndpoint(self.reactor, self.proxy, uri.host, uri.port)
        if uri.scheme == b"https":
            options = optionsForClientTLS(uri.host.decode("ascii"))
            endpoint = wrapClientTLS(options, endpoint)
        return endpoint


async def main(reactor, proxy, *urls):
    factory = ThroughProxy(reactor, clientFromString(reactor, proxy))
    client = treq.client.HTTPClient(Agent.usingEndpointFactory(reactor, factory))
    for url in urls:
        response = await client.get(url)
        print(await response.text())


react(main, sys.argv[1:])
