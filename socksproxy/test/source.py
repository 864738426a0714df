"""
The project's files that are not installed.
"""

from __future__ import annotations

import os
from pathlib import Path
from unittest import SkipTest

import socksproxy

__all__ = ["sourceFile"]


def sourceFile(name: str) -> Path:
    """
    A file of the checkout that is tested, also where its installed package is
    another one: there C{SOCKSPROXY_SOURCE} says where the checkout is.
    """
    checkout = os.environ.get("SOCKSPROXY_SOURCE")
    root = Path(checkout) if checkout else Path(socksproxy.__file__).parent.parent
    path = root / name
    if not path.exists():
        raise SkipTest(f"there is no {name}: set SOCKSPROXY_SOURCE to the checkout")
    return path
