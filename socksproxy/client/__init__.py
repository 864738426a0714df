"""
The other role: endpoints for those who connect through a proxy.

The rules of this room:

 - a conversation turns bytes into values and back, and knows no transport, no
   clock and no reactor;
 - L{Handshake <socksproxy.client.handshake.Handshake>} alone knows the
   transport, and is gone from it once the proxy has answered: the user's
   protocol has the connection as it is;
 - names go to the proxy as they are, unless somebody says otherwise.
"""
