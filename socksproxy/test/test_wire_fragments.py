"""
Tests for L{socksproxy.wire.fragments}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.wire.address import Address
from socksproxy.wire.fragments import MAX_DATA, REASSEMBLY_TIME, Reassembly
from socksproxy.wire.socks5 import LAST_FRAGMENT, Datagram

HERE = Address.ip("192.0.2.1", 53)
THERE = Address.ip("192.0.2.2", 53)
LAST = LAST_FRAGMENT


class ReassemblyTests(SynchronousTestCase):
    """
    One sequence at a time.
    """

    def setUp(self) -> None:
        self.reassembly = Reassembly()

    def add(
        self, fragment: int, data: bytes, now: float = 0, address: Address = HERE
    ) -> bytes | None:
        """
        What is whole after one more fragment.
        """
        whole = self.reassembly.add(Datagram(address, data, fragment), now)
        if whole is None:
            return None
        self.assertEqual(whole, Datagram(address, whole.data))
        return whole.data

    def test_whole(self) -> None:
        """
        Fragments in their order give the whole with the last, time after time.
        """
        for _ in range(2):
            self.assertIsNone(self.add(1, b"one "))
            self.assertIsNone(self.add(2, b""))
            self.assertEqual(self.add(LAST | 3, b"three"), b"one three")
        self.assertEqual(self.reassembly.dropped, 0)

    def test_alone(self) -> None:
        """
        The first may be the last.
        """
        self.assertEqual(self.add(LAST | 1, b"one"), b"one")

    def test_longest(self) -> None:
        """
        A sequence has 127 fragments at the most.
        """
        for position in range(1, 127):
            self.assertIsNone(self.add(position, b"x"))
        self.assertEqual(self.add(LAST | 127, b"x"), b"x" * 127)

    def test_gap(self) -> None:
        """
        What has a gap is dropped, and what follows it too, until a new sequence
        begins.
        """
        self.add(1, b"one")
        for fragment in (3, 4, LAST | 5, LAST | 2):
            self.assertIsNone(self.add(fragment, b"more"))
        self.assertEqual(self.reassembly.dropped, 5)
        self.add(1, b"one")
        self.assertEqual(self.add(LAST | 2, b"two"), b"onetwo")

    def test_noBeginning(self) -> None:
        """
        Without its first fragment nothing becomes whole.
        """
        for fragment in (2, LAST | 3, LAST | 127):
            self.assertIsNone(self.add(fragment, b"more"))
        self.assertEqual(self.reassembly.dropped, 3)

    def test_startsAnew(self) -> None:
        """
        A position that is not above the highest one starts anew.
        """
        self.add(1, b"old")
        self.add(2, b"old")
        self.add(1, b"new ")
        self.assertEqual(self.reassembly.dropped, 2)
        self.assertEqual(self.add(LAST | 2, b"end"), b"new end")
        self.add(1, b"one")
        self.add(2, b"two")
        self.assertIsNone(self.add(2, b"two"))
        self.assertIsNone(self.add(LAST | 3, b"three"))
        self.assertEqual(self.reassembly.dropped, 6)

    def test_time(self) -> None:
        """
        A sequence has its time from its first fragment on; one that comes later
        belongs to nothing.
        """
        self.assertGreaterEqual(REASSEMBLY_TIME, 5)
        self.add(1, b"one", 100)
        self.assertEqual(self.add(LAST | 2, b"two", 100 + REASSEMBLY_TIME), b"onetwo")
        self.add(1, b"one", 200)
        self.add(2, b"two", 200 + REASSEMBLY_TIME)
        self.assertIsNone(self.add(LAST | 3, b"x", 200.1 + REASSEMBLY_TIME))
        self.assertEqual(self.reassembly.dropped, 3)

    def test_address(self) -> None:
        """
        All parts of a datagram go to one address.
        """
        self.add(1, b"one")
        self.assertIsNone(self.add(LAST | 2, b"two", address=THERE))
        self.assertIsNone(self.add(LAST | 2, b"two"))
        self.assertEqual(self.reassembly.dropped, 3)

    def test_bounded(self) -> None:
        """
        What no datagram could carry is dropped.
        """
        self.add(1, bytes(MAX_DATA))
        self.assertEqual(self.add(LAST | 2, b""), bytes(MAX_DATA))
        self.add(1, bytes(MAX_DATA))
        self.assertIsNone(self.add(2, b"x"))
        self.assertIsNone(self.add(LAST | 3, b""))
        self.assertEqual(self.reassembly.dropped, 3)

    @settings(deadline=None, max_examples=500)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from((1, 1, 2, 2, 3, 3, 4, 0x81, 0x82, 0x83, 0x84, 0xFF)),
                st.sampled_from((HERE, HERE, HERE, THERE)),
                st.sampled_from((0, 0, 1, REASSEMBLY_TIME)),
            ),
            max_size=30,
        )
    )
    def test_anyOrder(self, given: list[tuple[int, Address, float]]) -> None:
        """
        Whatever comes: what is passed on is the fragments from 1 to the last, as
        they came, one after the other, in time and for one address, and all
        else is dropped or waits.
        """
        now = 0.0
        came: list[tuple[int, Address, float]] = []
        passedOn = 0
        for number, (fragment, address, pause) in enumerate(given):
            now += pause
            came.append((fragment, address, now))
            data = bytes((number,))
            whole = self.reassembly.add(Datagram(address, data, fragment), now)
            if whole is not None:
                count = len(whole.data)
                passedOn += count
                first = number + 1 - count
                self.assertEqual(whole.data, bytes(range(first, number + 1)))
                parts = came[-count:]
                positions = [*range(1, count), LAST | count]
                self.assertEqual([part[0] for part in parts], positions)
                self.assertEqual({part[1] for part in parts}, {whole.address})
                self.assertLessEqual(now - parts[0][2], REASSEMBLY_TIME)
        waits = len(given) - passedOn - self.reassembly.dropped
        self.assertIn(waits, range(5))
        self.reassembly = Reassembly()
