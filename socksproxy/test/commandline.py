"""
Command lines for tests.
"""

from __future__ import annotations

from socksproxy.tap import Options

__all__ = ["parsed"]


def parsed(*arguments: str) -> Options:
    """
    The options of a command line.
    """
    options = Options()
    options.parseOptions(list(arguments))
    return options
