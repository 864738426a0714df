"""
Command lines for tests.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from socksproxy.tap import Options

__all__ = ["OptionsTestCase", "parsed"]


def parsed(*arguments: str) -> Options:
    """
    The options of a command line.
    """
    options = Options()
    options.parseOptions(list(arguments))
    return options


class OptionsTestCase(SynchronousTestCase):
    """
    Tests of options.
    """

    def assertGivesUp(self, *arguments: str, says: str) -> None:
        """
        It ends, and says why in one line.
        """
        ended = self.assertRaises(SystemExit, parsed, *arguments)
        self.assertIn(says, str(ended))
        self.assertEqual(len(str(ended).splitlines()), 1)
