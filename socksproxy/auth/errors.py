"""
What can become of a login besides being right or wrong.
"""

from __future__ import annotations

from twisted.cred.error import LoginFailed

__all__ = ["NotChecked"]


class NotChecked(LoginFailed):
    """
    Nobody has looked at the password, so this was no guess.  The client is told
    what it is told of a wrong one; the message is for the log, and has nothing in
    it that the client chose.
    """
