"""
Call a Perspective Broker server through whatever proxy the description names:

    python pbclient.py socks5:127.0.0.1:1080:host=pb.example:hostPort=8787 hello
"""

import sys

from twisted.internet.endpoints import clientFromString
from twisted.internet.task import react
from twisted.spread.pb import PBClientFactory


async def main(reactor, description, message):
    factory = PBClientFactory()
    await clientFromString(reactor, description).connect(factory)
    root = await factory.getRootObject()
    print(await root.callRemote("echo", message))
    factory.disconnect()


react(main, sys.argv[1:])
