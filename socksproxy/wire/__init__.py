"""
Bytes to values and back.

The rules of this room:

 - only the standard library: no Twisted, no sockets, no clock;
 - a parser takes one whole message from a L{ReceiveBuffer
   <socksproxy.wire.buffer.ReceiveBuffer>} and returns its value, or takes
   nothing and returns L{None} when bytes are missing, or raises
   L{RemoteProtocolError <socksproxy.wire.errors.RemoteProtocolError>};
   nothing else comes out of it, whatever a peer sends;
 - C{parse(encode(value)) == value}, and bytes behind a message stay where they
   are: they belong to whoever reads next.
"""
