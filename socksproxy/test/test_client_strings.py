"""
Tests for L{socksproxy.client.strings}, by way of the plugin.
"""

from __future__ import annotations

import sys
from typing import Any
from unittest.mock import patch

from twisted.internet.endpoints import (
    HostnameEndpoint,
    UNIXClientEndpoint,
    clientFromString,
)
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.client import strings
from socksproxy.client.endpoints import (
    HTTPConnectClientEndpoint,
    SOCKS4ClientEndpoint,
    SOCKS5ClientEndpoint,
)
from socksproxy.test.kerberos import needsKerberos
from socksproxy.test.proxyline import MemoryEndpoint, recorders
from socksproxy.wire.gssapi import Protection


class StringTests(SynchronousTestCase):
    """
    What can be described.
    """

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.proxies: list[tuple[str, int]] = []

    def sent(self, description: str) -> bytes:
        """
        What the endpoint says first to its proxy, which is a host.
        """
        inner = MemoryEndpoint()

        def proxy(reactor: Any, host: str, port: int, timeout: float) -> Any:
            self.proxies.append((host, port))
            return inner

        self.patch(strings, "HostnameEndpoint", proxy)
        endpoint: Any = clientFromString(Clock(), description)
        endpoint.connect(recorders())
        return inner.arrive().taken()

    def test_socks5(self) -> None:
        """
        The proxy's port may be left out, stand behind its host, or be named.
        """
        for proxy in ("p:port=1081", "p:1081", "p"):
            greeting = self.sent(f"socks5:{proxy}:host=example.com:hostPort=443")
            self.assertEqual(greeting, b"\x05\x01\0")
        self.assertEqual(self.proxies, [("p", 1081), ("p", 1081), ("p", 1080)])

    def test_socks5Login(self) -> None:
        """
        With a user both is offered; what does not wait offers the login alone.
        """
        login = "socks5:p:host=example.com:hostPort=443:username=ann:password=p\\:w"
        self.assertEqual(self.sent(login), b"\x05\x02\0\x02")
        self.assertTrue(
            self.sent(f"{login}:optimistic=yes").startswith(
                b"\x05\x01\x02\x01\x03ann\x03p:w\x05\x01\0\x03"
            )
        )
        self.assertEqual(self.sent(f"{login}:optimistic=no"), b"\x05\x02\0\x02")

    @needsKerberos
    def test_gssapi(self) -> None:
        """
        The service, at the proxy's host unless it says where it is; nothing else is
        offered.
        """
        target = "host=example.com:hostPort=443"
        for proxy, gssapi, service in (
            ("p", "rcmd", "rcmd@p"),
            ("p", "socks/q@R", "socks/q@R"),
            (r"proxy=tcp\:q\:1", "rcmd/q", "rcmd/q"),
        ):
            description = f"socks5:{proxy}:{target}:gssapi={gssapi}"
            endpoint: Any = clientFromString(self.reactor, description)
            [login] = endpoint._authenticators
            self.assertEqual((login.method, login.service), (1, service))
            self.assertEqual(login.least, Protection.CONFIDENTIALITY)
        greeting = self.sent(f"socks5:p:{target}:gssapi=rcmd")
        self.assertEqual(greeting, b"\x05\x01\x01")

    def test_noGSSAPI(self) -> None:
        """
        It says what to install.
        """
        gone = dict.fromkeys(("gssapi", "socksproxy.client.gssapi"))
        with (
            patch.dict(sys.modules, gone),
            self.assertRaises(ImportError) as raised,
        ):
            self.sent("socks5:p:host=h:hostPort=1:gssapi=rcmd")
        self.assertIn("pip install 'socksproxy[gssapi]'", str(raised.exception))

    def test_socks4(self) -> None:
        """
        The user id is SOCKS4's own; a name goes to the proxy.
        """
        request = self.sent("socks4:p:host=example.com:hostPort=443:userId=ann")
        self.assertEqual(request, b"\x04\x01\x01\xbb\0\0\0\x01ann\0example.com\0")
        self.assertEqual(self.proxies, [("p", 1080)])

    def test_httpconnect(self) -> None:
        """
        An IPv6 address as the target needs its colons quoted.
        """
        request = self.sent(
            r"httpconnect:p:host=2001\:db8\:\:1:hostPort=443:username=ann:password=pw"
        )
        self.assertIn(b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n", request)
        self.assertIn(b"Proxy-Authorization: Basic YW5uOnB3\r\n", request)
        self.assertEqual(self.proxies, [("p", 8080)])

    def test_kinds(self) -> None:
        """
        Each is a real endpoint, its proxy being whatever endpoint is described,
        another one of these too.
        """
        for description, kind, inner in (
            ("socks5:p:host=h:hostPort=1", SOCKS5ClientEndpoint, HostnameEndpoint),
            (
                r"socks4:proxy=unix\:/run/x:host=h:hostPort=1:resolve=yes",
                SOCKS4ClientEndpoint,
                UNIXClientEndpoint,
            ),
            (
                r"httpconnect:proxy=socks5\:p\:host=q\:hostPort=8080:host=h:hostPort=1",
                HTTPConnectClientEndpoint,
                SOCKS5ClientEndpoint,
            ),
        ):
            endpoint: Any = clientFromString(self.reactor, description)
            self.assertIsInstance(endpoint, kind)
            self.assertIsInstance(endpoint._inner, inner)

    def test_timeout(self) -> None:
        """
        In seconds.
        """
        endpoint: Any = clientFromString(
            self.reactor, "socks5:p:host=h:hostPort=1:timeout=2.5"
        )
        self.assertEqual(endpoint._timeout, 2.5)

    def test_wrong(self) -> None:
        """
        What is missing, or makes no sense, is told, and no part of a password with
        it.
        """
        login = "socks5:p:host=h:hostPort=1:username=ann:password="
        for description, words in (
            ("socks5:host=h:hostPort=1", "proxy's host is missing"),
            ("socks5::host=h:hostPort=1", "proxy's host is missing"),
            ("socks5:p:1:2:host=h:hostPort=1", "too much"),
            ("socks5:p:hostPort=1", "host=... is missing"),
            ("socks5:p:host=h", "hostPort=... is missing"),
            ("socks5:p:host=h:hostPort=http", "hostPort=... is not a port"),
            ("socks5:p:x:host=h:hostPort=1", "not a port"),
            ("socks5:p:host=h:hostPort=1:optimistic=maybe", "neither yes nor no"),
            ("socks5:p:host=h:hostPort=1:timeout=soon", "timeout=... is not a number"),
            ("socks5:p:host=h:hostPort=1:timeout=nan", "timeout=... is not a number"),
            ("socks5:p:host=h:hostPort=1:timeout=-1", "timeout=... is not a number"),
            ("socks5:p:host=h:hostPort=1:timeout=inf", "timeout=... is not a number"),
            ("socks5:p:host=h:hostPort=1:password=s3cret", "username=... is missing"),
            (f"{login}a:s3cret", "colon"),
            (f"{login}a:s3cret:s3cret", "colon"),
            ("socks5:p:host=h:hostPort=1:prefix=x", "there is no prefix=..."),
            ("socks5:p:host=h:hostPort=1:reactor=x", "there is no reactor=..."),
            ("socks5:p:host=h:hostPort=1:self=x", "there is no self=..."),
            ("socks5:p:host=h:hostPort=1:userId=x", "there is no userId=..."),
            (r"socks4:p:proxy=tcp\:q\:1:host=h:hostPort=1", "either"),
            (
                r"socks5:proxy=tcp\:q\:1:host=h:hostPort=1:gssapi=rcmd",
                "name is missing",
            ),
            ("httpconnect:p:host=h:hostPort=1:gssapi=rcmd", "there is no gssapi=..."),
            ("httpconnect:p:host=h/:hostPort=1", "HTTP cannot carry"),
        ):
            wrong = self.assertRaises(
                ValueError, clientFromString, self.reactor, description
            )
            self.assertIn(words, str(wrong))
            self.assertNotIn("s3cret", str(wrong))
