"""
Logins that PAM checks: C{--auth pam:SERVICE}.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from twisted.cred.error import UnauthorizedLogin
from twisted.logger import Logger

from socksproxy.auth.errors import NotChecked
from socksproxy.auth.logins import AvatarId
from socksproxy.auth.slow import SlowChecker

try:
    import pamela
except ModuleNotFoundError:
    what = "there is no pamela here: pip install 'socksproxy[pam]'"
    raise ImportError(what) from None
except AttributeError:
    raise ImportError("this system has no libpam") from None

__all__ = ["PAMChecker", "checkerFor"]

log = Logger()

SERVICES = (
    "/etc/pam.d",
    "/usr/lib/pam.d",
    "/usr/etc/pam.d",
    "/usr/local/etc/pam.d",
)
"""
Where PAM looks for its services, the first of which every system has that has
any of them.
"""

REFUSALS = {6, 7, 10, 11, 12, 13, 27}
"""
PAM's PERM_DENIED, AUTH_ERR, USER_UNKNOWN, MAXTRIES, NEW_AUTHTOK_REQD, ACCT_EXPIRED
and AUTHTOK_EXPIRED: it could tell, and the answer is no.
"""


class PAMChecker(SlowChecker):
    """
    Asks PAM for the user's password, and whether the account may be used now.
    No session is opened.
    """

    def __init__(self, service: str) -> None:
        self._service = service

    def check(self, username: bytes, password: bytes) -> AvatarId:
        # PAM has C strings: they would be cut there.  It asks for a name that is
        # empty, and nobody is there to answer.
        if not username or b"\0" in username or b"\0" in password:
            raise UnauthorizedLogin()
        try:
            # As a sequence: PAM gets it once, and nothing for a second question.
            pamela.authenticate(username, [password], self._service, resetcred=0)
        except pamela.PAMError as wrong:
            if wrong.errno in REFUSALS:
                raise UnauthorizedLogin() from None
            log.warn(
                "PAM cannot check logins by its service {service}: {reason}.",
                service=self._service,
                reason=wrong.message,
            )
            raise NotChecked("PAM cannot check it") from None
        return username


def checkerFor(service: str, directories: Sequence[str] = SERVICES) -> PAMChecker:
    """
    @raise ValueError: there is no such service; its text says so.
    """
    if not service or "/" in service or "\0" in service:
        raise ValueError("pam:SERVICE wants the name of a file in /etc/pam.d")
    # This is what PAM does with the name.
    service = service.lower()
    # Where there is no such directory there is one file, pam.conf, for all.
    if os.path.isdir(directories[0]) and not any(
        os.path.isfile(os.path.join(directory, service)) for directory in directories
    ):
        raise ValueError(f"there is no PAM service {directories[0]}/{service}")
    return PAMChecker(service)
