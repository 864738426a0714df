"""
C{twistd socks5} and C{twist socks5}.
"""

from twisted.application.service import ServiceMaker

socks5 = ServiceMaker(
    "SOCKS5 proxy server",
    "socksproxy.tap",
    "A SOCKS5 proxy server (RFC 1928).",
    "socks5",
)
