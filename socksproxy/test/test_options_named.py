"""
Tests for L{socksproxy.options.named}.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.options.named import named


@named
class Named(usage.Options):
    """
    An option that wants a number, and one that takes anything.
    """

    optParameters: ClassVar[list[list[Any]]] = [
        ["size", "s", 1, "How large.", int],
        ["name", None, None, "What it is called."],
    ]


class NamedTests(SynchronousTestCase):
    """
    What is said of values.
    """

    def test_good(self) -> None:
        """
        Nothing changes for them, nor for what is not given.
        """
        options: Any = Named()
        options.parseOptions(["-s", "7", "--name", "seven"])
        self.assertEqual(options, {"size": 7, "name": "seven"})
        options = Named()
        options.parseOptions([])
        self.assertEqual(options, {"size": 1, "name": None})

    def test_bad(self) -> None:
        """
        It is said of which option they are.
        """
        options: Any = Named()
        wrong = self.assertRaises(usage.UsageError, options.parseOptions, ["-s", "x"])
        self.assertRegex(str(wrong), "^--size: invalid literal .*'x'$")
