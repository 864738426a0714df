"""
A client for challenge.py, with nothing but the standard library:

    python3 docs/examples/challenge_client.py 127.0.0.1:1080 alice example.com:80

The secret is in the environment, as SECRET.  What comes in is sent, and what is
answered comes out.
"""

import hmac
import os
import secrets
import shutil
import socket
import sys

METHOD = 0x80
VERSION = 1


def receive(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise ConnectionError("the proxy has closed the connection")
        data += more
    return data


def logIn(sock, name, secret):
    """
    @param sock: a new connection to the proxy.
    """
    sock.sendall(bytes((5, 1, METHOD)))
    if receive(sock, 2) != bytes((5, METHOD)):
        raise ConnectionError("the proxy does not do this method")
    version, *serverNonce = receive(sock, 33)
    if version != VERSION:
        raise ConnectionError("the proxy does another version of this method")
    nonce = secrets.token_bytes(32)
    proof = hmac.digest(secret, bytes(serverNonce) + nonce + name, "sha256")
    sock.sendall(bytes((VERSION,)) + nonce + bytes((len(name),)) + name + proof)
    if receive(sock, 2) != bytes((VERSION, 0)):
        raise ConnectionError("the proxy does not know this name and secret")


def connect(sock, host, port):
    """
    @param sock: one that has logged in.
    """
    name = host.encode("idna")
    request = bytes((5, 1, 0, 3, len(name))) + name + port.to_bytes(2, "big")
    sock.sendall(request)
    _, code, _, kind = receive(sock, 4)
    receive(sock, 6 if kind == 1 else 18)
    if code:
        raise ConnectionError(f"the proxy cannot connect: reply {code:02x}")


def main(proxy, name, target):
    proxyHost, proxyPort = proxy.rsplit(":", 1)
    host, port = target.rsplit(":", 1)
    with socket.create_connection((proxyHost, int(proxyPort))) as sock:
        logIn(sock, name.encode(), os.environ["SECRET"].encode())
        connect(sock, host, int(port))
        sock.sendall(sys.stdin.buffer.read())
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as answer:
            shutil.copyfileobj(answer, sys.stdout.buffer)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as wrong:
        sys.exit(str(wrong))
