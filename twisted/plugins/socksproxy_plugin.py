"""
C{twistd socks5} and C{twist socks5}, and client endpoints through proxies.

Names only: whatever is behind them is loaded when somebody wants it.
"""

from twisted.application.service import ServiceMaker
from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class _ThroughProxy:
    """
    Descriptions of client endpoints that begin with C{prefix}.
    """

    def __init__(self, prefix):
        self.prefix = prefix

    def parseStreamClient(self, reactor, /, *arguments, **options):
        """
        See L{socksproxy.client.strings.parse}.
        """
        from socksproxy.client.strings import parse

        return parse(self.prefix, reactor, *arguments, **options)


socks5 = ServiceMaker(
    "SOCKS5 proxy server",
    "socksproxy.tap",
    "A SOCKS5 proxy server (RFC 1928).",
    "socks5",
)

socks5Client = _ThroughProxy("socks5")
socks4Client = _ThroughProxy("socks4")
httpConnectClient = _ThroughProxy("httpconnect")
