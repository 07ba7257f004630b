"""IP addresses: `ip("10.0.0.1")`, `isIP`, `family`, `isLoopback`, …

Upstream: `pkg/cel/library/ip.go` in k8s.io/apiserver, with Go's `net/netip`: no zones, no IPv4 mapped into IPv6.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library
from dra_operator.cel.values import Opaque

LIBRARY: Final = Library()

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class IP(Opaque):
    __slots__ = ("address",)
    type_name = "net.IP"

    def __init__(self, address: Address) -> None:
        self.address = address

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IP) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)


def parse_address(text: str) -> Address:
    """An address. Raises ValueError with the API server's text."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f'IP Address "{text}" parse error during conversion from string') from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f'IP address "{text}" with zone value is not allowed')
        if address.ipv4_mapped is not None:
            raise ValueError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return address


@LIBRARY.function("ip(string) -> IP")
def parse(text: str) -> IP:
    try:
        return IP(parse_address(text))
    except ValueError as error:
        raise CELEvaluationError(str(error)) from None


@LIBRARY.function("isIP(string) -> bool")
def is_ip(text: str) -> bool:
    try:
        parse_address(text)
    except ValueError:
        return False
    return True


@LIBRARY.function("ip.isCanonical(string) -> bool")
def is_canonical(text: str) -> bool:
    return str(parse(text).address) == text


@LIBRARY.function("string(IP) -> string")
def text_of(ip: IP) -> str:
    return str(ip.address)


@LIBRARY.function("IP.family() -> int")
def family(ip: IP) -> int:
    return ip.address.version


@LIBRARY.function("IP.isUnspecified() -> bool")
def is_unspecified(ip: IP) -> bool:
    return ip.address.is_unspecified


@LIBRARY.function("IP.isLoopback() -> bool")
def is_loopback(ip: IP) -> bool:
    return ip.address.is_loopback


@LIBRARY.function("IP.isLinkLocalMulticast() -> bool")
def is_link_local_multicast(ip: IP) -> bool:
    packed = ip.address.packed
    if len(packed) == 4:
        return packed[:3] == b"\xe0\x00\x00"
    return packed[0] == 0xFF and packed[1] & 0x0F == 0x02


@LIBRARY.function("IP.isLinkLocalUnicast() -> bool")
def is_link_local_unicast(ip: IP) -> bool:
    return ip.address.is_link_local


@LIBRARY.function("IP.isGlobalUnicast() -> bool")
def is_global_unicast(ip: IP) -> bool:
    address = ip.address
    broadcast = address.packed == b"\xff\xff\xff\xff"
    return not (
        broadcast or address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    )
