"""
The relays under every reactor that Linux has.
"""

from __future__ import annotations

import os
import re
import signal

from twisted.internet import reactor
from twisted.trial.runner import TestLoader

from socksproxy.test.processes import PATIENCE, script
from socksproxy.test.relaysuite import SEEDS
from socksproxy.test.test_bind import BindTestCase, answer, connected
from socksproxy.test.test_udp import UDPTestCase

REACTORS = ("epoll", "poll", "select", "asyncio")

MODULES = [
    "socksproxy.test.test_relay_hub",
    "socksproxy.test.test_relay_relay",
    "socksproxy.test.test_relay_splice",
    "socksproxy.test.test_relay_traps",
    "socksproxy.test.test_secured",
    "socksproxy.test.test_server_traps",
]


class ReactorTests(UDPTestCase, BindTestCase):
    """
    What is promised is promised under all of them.
    """

    def assertPasses(self, name: str) -> None:
        """
        The tests of the relays pass with C{trial --reactor}, each of them.
        """
        if type(reactor).__module__ == f"twisted.internet.{name}reactor":
            # This is the one that they run under anyway.
            return
        count = TestLoader().loadByNames(MODULES).countTestCases()
        self.assertGreater(count, 50)
        # All of the random sequences are for one reactor.
        done = self.run_(
            "env",
            f"{SEEDS}=0:200",
            script("trial"),
            f"--reactor={name}",
            *MODULES,
            timeout=4 * PATIENCE,
        )
        self.assertIn(f"PASSED (successes={count})", done.output, repr(done))
        self.assertEqual(done.status, 0, repr(done))

    def assertServes(self, name: str) -> None:
        """
        So does a whole server relay with C{twistd --reactor}, and end when it
        is told to.
        """
        proxy = self.startProxy(twistd=("--reactor", name))
        listening = self.listener()
        client = self.client(proxy.greeted())
        code, _ = client.request("127.0.0.1", listening.getsockname()[1])
        self.assertEqual(code, 0)
        target = self.accept(listening)
        data = os.urandom(100_000)
        for one, other in ((client, target), (target, client)):
            one.socket.sendall(data)
            self.assertEqual(other.receive(len(data)), data)
        self.assertExchanges(self.associated(proxy), self.target())
        waiting, bound = self.bound(proxy)
        came = self.client(connected(bound))
        self.assertEqual(answer(waiting), (0, came.socket.getsockname()))
        came.socket.sendall(data)
        self.assertEqual(waiting.receive(len(data)), data)
        # It still waits when the proxy stops.
        self.bound(proxy)
        client.socket.close()
        self.assertEqual(target.receive(1), b"")
        target.socket.close()
        self.until(lambda: re.search(r"100000\D+100000", proxy.log), "no totals")
        # Not every reactor says that its loop is over.
        self.assertIn(proxy.terminate(), (0, -signal.SIGTERM))
        self.assertIn("Server Shut Down.", proxy.log)
        self.assertQuiet(proxy)

    def test_epoll(self) -> None:
        """
        epoll, which is the default.
        """
        self.assertPasses("epoll")
        self.assertServes("epoll")

    def test_poll(self) -> None:
        """
        poll.
        """
        self.assertPasses("poll")
        self.assertServes("poll")

    def test_select(self) -> None:
        """
        select.
        """
        self.assertPasses("select")
        self.assertServes("select")

    def test_asyncio(self) -> None:
        """
        asyncio.
        """
        self.assertPasses("asyncio")
        self.assertServes("asyncio")
