# A proxy that gives each user a way of his own:
#
#     PORT=1080 VIA=socks5://127.0.0.1:1081 twistd -n -y peruser.tac
#
# alice goes out from another address, bob through another proxy.

import os

from twisted.application.service import Application
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString

from socksproxy import (
    DirectConnector,
    LocalEnd,
    PasswordAuthenticator,
    SOCKS5Factory,
    SOCKS5Service,
)
from socksproxy.outbound.chain import ChainConnector
from socksproxy.outbound.hop import Hop
from socksproxy.outbound.peruser import PerUserConnector

users = InMemoryUsernamePasswordDatabaseDontUse()
users.users = {b"alice": b"a", b"bob": b"b", b"carol": b"c"}

direct = DirectConnector(reactor)
connector = PerUserConnector(
    {
        "alice": DirectConnector(reactor, localEnd=LocalEnd(ipv4="127.0.0.2")),
        "bob": ChainConnector(reactor, Hop.parse(os.environ["VIA"]), direct),
    },
    otherwise=direct,
)

application = Application("a way for each user")
factory = SOCKS5Factory(reactor, [PasswordAuthenticator([users])], connector)
endpoint = serverFromString(reactor, f"tcp:{os.environ['PORT']}:interface=127.0.0.1")
SOCKS5Service(factory, [endpoint]).setServiceParent(application)
