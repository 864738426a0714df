"""
May they?  Rules and limits on who may reach what.
"""

from __future__ import annotations

from zope.interface import implementer

from socksproxy.interfaces import IAccessPolicy, ISession, Request
from socksproxy.wire.address import Address

__all__ = ["PermitAll"]


@implementer(IAccessPolicy)
class PermitAll:
    """
    Whoever was let in may go anywhere.
    """

    def permitsRequest(self, request: Request, session: ISession) -> bool:
        return True

    def permitsAddress(
        self, address: Address, request: Request, session: ISession
    ) -> bool:
        return True
