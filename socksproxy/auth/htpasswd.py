"""
Password files as C{htpasswd} writes them: C{--auth htpasswd:FILE}.

C{python -m socksproxy.auth.htpasswd NAME} prints a line for such a file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from getpass import getpass

from twisted.cred.error import UnauthorizedLogin
from zope.interface import implementer

from socksproxy.auth.logins import AvatarId
from socksproxy.auth.remembered import IChanging
from socksproxy.auth.slow import SlowChecker

try:
    from socksproxy.auth.hashes import newHash
    from socksproxy.auth.passwordfile import PasswordFile, UnusableFile
except ModuleNotFoundError as missing:
    raise ImportError(
        f"there is no {missing.name} here: pip install 'socksproxy[passwords]'"
    ) from None

__all__ = ["HtpasswdChecker", "checkerFor", "main"]

LONGEST = 255
"""
Bytes of a name and of a password, for which RFC 1929 has room.
"""


@implementer(IChanging)
class HtpasswdChecker(SlowChecker):
    """
    Checks logins against the hashes in a file.  A new file counts from the next
    login on.
    """

    def __init__(self, path: str) -> None:
        """
        @raise OSError: the file cannot be read.
        @raise UnusableFile: it can, but it is of no use.
        """
        self._file = PasswordFile(path)

    @property
    def generation(self) -> int:
        """
        A number that grows whenever the users in the file have changed: what is
        remembered of logins before that is out of date.  It costs a look at the
        file's status.
        """
        return self._file.generation

    def check(self, username: bytes, password: bytes) -> AvatarId:
        if not self._file.users.know(username, password):
            raise UnauthorizedLogin()
        return username


def checkerFor(path: str) -> HtpasswdChecker:
    """
    @raise ValueError: there is no such file, or none that is of use; its text
        says which and why.
    """
    if not path:
        raise ValueError("htpasswd:FILE wants the path of a file")
    try:
        return HtpasswdChecker(path)
    except OSError as wrong:
        raise ValueError(f"{path}: {wrong.strerror}") from None
    except UnusableFile as wrong:
        raise ValueError(f"{path}: {wrong}") from None


def _password() -> bytes:
    """
    From the terminal, twice, or else the first line of the standard input.
    """
    if not sys.stdin.isatty():
        return sys.stdin.buffer.readline().rstrip(b"\r\n")
    password = getpass()
    if getpass("Once more: ") != password:
        sys.exit("They are not the same.")
    return os.fsencode(password)


def main(arguments: Sequence[str]) -> None:
    """
    Print a line for the user who is named.

    @raise SystemExit: there is none that could be printed.
    """
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.exit(
            "Usage: python -m socksproxy.auth.htpasswd NAME >> FILE\n"
            "Prints a line for --auth htpasswd:FILE. Asks for the password, or takes "
            "the first\nline of its standard input if that is no terminal."
        )
    name = os.fsencode(arguments[0])
    if not 0 < len(name) <= LONGEST or set(name) & set(b":\r\n") or name[:1] == b"#":
        sys.exit(f"A name has 1 to {LONGEST} bytes, no colon, and no # at its front.")
    password = _password()
    if not 0 < len(password) <= LONGEST:
        sys.exit(f"A password has 1 to {LONGEST} bytes.")
    sys.stdout.buffer.write(name + b":" + newHash(password) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
