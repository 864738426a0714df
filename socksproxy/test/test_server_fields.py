"""
Tests for L{socksproxy.server.fields}, in memory.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from socksproxy.test.test_server_forward import GET, OK, POST, ForwardTestCase
from socksproxy.test.test_server_http import FakeLogins, withLine


class FieldTests(ForwardTestCase):
    """
    What is passed on of a head.
    """

    def test_hopByHop(self) -> None:
        """
        What was meant for the proxy stays there: all that RFC 9110 section 7.6.1
        lists, what Connection names, and passwords.
        """
        fields = self.passedOn(
            withLine(
                GET,
                b"Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n"
                b"Proxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: h2c\r\n"
                b"Proxy-Authorization: Basic YTpi\r\nX-Other: 2\r\nCookie: c\r\n",
            )
        )
        self.assertEqual(
            fields,
            {
                b"": b"GET /a?b HTTP/1.1",
                b"host": b"example.com",
                b"x-other": b"2",
                b"cookie": b"c",
                b"via": b"1.1 socksproxy",
            },
        )

    def test_notNamed(self) -> None:
        """
        Connection cannot take away what makes the message what it is.
        """
        request = withLine(POST, b"Connection: content-length, host\r\n")
        fields = self.passedOn(request + b"12345")
        self.assertEqual(fields[b"content-length"], b"5")
        self.assertEqual(fields[b"host"], b"example.com")

    def test_host(self) -> None:
        """
        Host is that of the target, whatever the client says (RFC 9112 section
        3.2.2).
        """
        request = GET.replace(b"http://example.com", b"http://example.org:8080")
        self.assertEqual(self.passedOn(request)[b"host"], b"example.org:8080")

    def test_via(self) -> None:
        """
        A proxy before this one is not forgotten.
        """
        _, _, attempt = self.asked(withLine(GET, b"Via: 1.0 fred\r\n"))
        self.assertTrue(
            attempt.transport.value().endswith(
                b"\r\nVia: 1.0 fred\r\nVia: 1.1 socksproxy\r\n\r\n"
            )
        )

    def test_nothingAdded(self) -> None:
        """
        Nobody is told who the client is.
        """
        self.assertNotIn(b"192.0.2.2", self.asked(GET)[2].transport.value())

    def test_spelling(self) -> None:
        """
        Names are spelled as they were.
        """
        _, _, attempt = self.asked(withLine(GET, b"X-UPPER-lower: 1\r\n"))
        self.assertIn(b"\r\nX-UPPER-lower: 1\r\n", attempt.transport.value())

    def test_paths(self) -> None:
        """
        Without a path it is the root, or, for OPTIONS, the target as a whole.
        """
        for method, target, line in (
            (b"GET", b"http://h", b"GET / HTTP/1.1"),
            (b"GET", b"http://h?q", b"GET /?q HTTP/1.1"),
            (b"OPTIONS", b"http://h", b"OPTIONS * HTTP/1.1"),
            (b"OPTIONS", b"http://h/", b"OPTIONS / HTTP/1.1"),
            (b"PROPFIND", b"http://h/x", b"PROPFIND /x HTTP/1.1"),
        ):
            request = method + b" " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n"
            self.assertEqual(self.passedOn(request)[b""], line)

    def test_maxForwards(self) -> None:
        """
        TRACE and OPTIONS count the proxies on their way; nothing else does.
        """
        options = GET.replace(b"GET", b"OPTIONS")
        for request, left in ((options, b"6"), (GET, b"7")):
            fields = self.passedOn(withLine(request, b"Max-Forwards: 7\r\n"))
            self.assertEqual(fields[b"max-forwards"], left)
        for value in (b"many", b"-1", b"9" * 5000):
            line = b"Max-Forwards: " + value + b"\r\n"
            self.assertEqual(
                self.passedOn(withLine(options, line))[b"max-forwards"], value
            )

    def test_noFurther(self) -> None:
        """
        What may go no further is answered by the proxy, to whoever is let in.
        """
        for method, status in ((b"OPTIONS", 200), (b"TRACE", 501)):
            request = withLine(GET.replace(b"GET", method), b"Max-Forwards: 00\r\n")
            session, transport = self.client(request)
            self.assertPage(transport, status, isLast=False)
            self.assertEqual(self.connector.attempts, [])
            session.dataReceived(request.replace(b" 00", b" 01"))
            target = self.connector.attempts.pop().connect()
            self.assertEqual(self.headOf(target.value())[b"max-forwards"], b"0")
        self.factory = self.makeFactory(authenticators=[FakeLogins()])
        _, transport = self.client(request)
        self.assertPage(transport, 407, isLast=False)

    def test_oldUpgrade(self) -> None:
        """
        A client of HTTP/1.0 cannot ask for another protocol (RFC 9110 section 7.8).
        """
        request = withLine(GET, b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
        fields = self.passedOn(request.replace(b"1.1\r", b"1.0\r"))
        self.assertNotIn(b"upgrade", fields)
        self.assertEqual(fields[b"connection"], b"close")

    def test_lengthOfNothing(self) -> None:
        """
        Where there is never a body there is no length of one (RFC 9110 section
        8.6), but where it tells that of another response.
        """
        for status, isTold in (
            (b"103 Early Hints", False),
            (b"204 No Content", False),
            (b"304 Not Modified", True),
        ):
            fields = self.told(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n")
            self.assertEqual(b"content-length" in fields, isTold)

    def test_response(self) -> None:
        """
        The same holds for what the target says.
        """
        fields = self.told(
            b"HTTP/1.1 407 Mine\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\n"
            b"Keep-Alive: 5\r\nProxy-Authenticate: Basic\r\nProxy-Connection: close\r\n"
            b"Upgrade: h2c\r\nX-Other: 2\r\nContent-Length: 0\r\n\r\n"
        )
        self.assertEqual(fields[b""], b"HTTP/1.1 407 Mine")
        self.assertEqual(set(fields), {b"", b"x-other", b"content-length", b"via"})

    def test_closing(self) -> None:
        """
        A client that wants nothing more gets the end, and the target is told.
        """
        request = withLine(GET, b"Connection: close\r\n")
        _, transport, attempt = self.asked(request)
        fields = self.headOf(attempt.transport.value())
        self.assertEqual(fields[b"connection"], b"close")
        attempt.protocol.dataReceived(OK)
        self.assertIn(b"\r\nConnection: close\r\n", transport.value())
        self.assertTrue(transport.value().endswith(b"hello"))
        self.assertTrue(transport.writeEnded)
        self.assertTrue(attempt.transport.disconnecting)
