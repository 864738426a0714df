"""
Where to, as Twisted has it and as proxies do.
"""

from __future__ import annotations

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from zope.interface import implementer

from socksproxy.errors import (
    AddressTypeNotSupported,
    HostUnreachable,
    RemoteProtocolError,
)
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType

__all__ = ["destinationOf", "resolveIPv4", "transportAddress"]


def destinationOf(host: str | bytes, port: int) -> Address:
    """
    @param host: the text of an IP address, or a name, which goes to the proxy as
        it is.
    @raise ValueError: there is no such host or port.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"{port} is not a port")
    try:
        return Address.name(host, port)
    except RemoteProtocolError as wrong:
        raise ValueError(str(wrong)) from None


def transportAddress(destination: Address) -> IAddress:
    """
    What a protocol's factory is told of where it is connected to.
    """
    if destination.type == AddressType.NAME:
        name = destination.host.encode("utf-8", "surrogateescape")
        return HostnameAddress(name, destination.port)
    kind = IPv6Address if destination.type == AddressType.IPV6 else IPv4Address
    return kind("TCP", destination.host, destination.port)


def resolveIPv4(
    reactor: IReactorPluggableNameResolver, destination: Address
) -> Deferred[Address]:
    """
    An address of C{destination} that SOCKS4 can carry, by the reactor's resolver.

    @return: fails with a L{RequestFailed <socksproxy.errors.RequestFailed>}.
    """
    if destination.type == AddressType.IPV6:
        return fail(AddressTypeNotSupported("SOCKS4 has no IPv6 addresses"))
    try:
        # What Python cannot look up, Twisted's resolver has no answer to, ever.
        destination.host.encode("idna")
    except UnicodeError:
        return fail(HostUnreachable("there is no such name"))
    resolution = _Resolution(destination)
    reactor.nameResolver.resolveHostName(
        resolution, destination.host, destination.port, addressTypes=[IPv4Address]
    )
    return resolution.found


@implementer(IResolutionReceiver)
class _Resolution:
    """
    The first address of a name.
    """

    def __init__(self, destination: Address) -> None:
        self._destination = destination
        self.found: Deferred[Address] = Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """
        There is nothing to do yet.
        """

    def addressResolved(self, address: IAddress) -> None:
        if not self.found.called and isinstance(address, IPv4Address):
            self.found.callback(Address.ip(address.host, self._destination.port))

    def resolutionComplete(self) -> None:
        if not self.found.called:
            self.found.errback(HostUnreachable("the name has no IPv4 address"))
