"""
What pbclient.py calls:

    python pbserver.py 8787
"""

import sys

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.python import log
from twisted.spread.pb import PBServerFactory, Root


class Echo(Root):
    def remote_echo(self, message):
        return message


log.startLogging(sys.stdout)
endpoint = TCP4ServerEndpoint(reactor, int(sys.argv[1]), interface="127.0.0.1")
endpoint.listen(PBServerFactory(Echo()))
reactor.run()
