"""Networks: `cidr("10.0.0.0/8")`, `containsIP`, `containsCIDR`, `masked`, `prefixLength`.

Upstream: `pkg/cel/library/cidr.go` in k8s.io/apiserver. Bits behind the prefix are kept until `masked()`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library
from dra_operator.cel.library.ip import IP, Address, parse_address
from dra_operator.cel.library.ip import parse as parse_ip
from dra_operator.cel.values import Opaque

LIBRARY: Final = Library()

_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,2}")


class CIDR(Opaque):
    __slots__ = ("address", "length", "network")
    type_name = "net.CIDR"

    def __init__(self, address: Address, length: int) -> None:
        self.address = address
        self.length = length
        self.network = ipaddress.ip_network((address, length), strict=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CIDR) and (self.address, self.length) == (other.address, other.length)

    def __hash__(self) -> int:
        return hash((self.address, self.length))


def _parse(text: str) -> CIDR:
    address, slash, length = text.rpartition("/")
    if not slash or _LENGTH.fullmatch(length) is None or "%" in address:
        raise ValueError(f'network address parse error during conversion from string: netip.ParsePrefix("{text}")')
    parsed = parse_address(address)
    if int(length) > parsed.max_prefixlen:
        raise ValueError(f'network address parse error during conversion from string: netip.ParsePrefix("{text}")')
    return CIDR(parsed, int(length))


@LIBRARY.function("cidr(string) -> CIDR")
def parse(text: str) -> CIDR:
    try:
        return _parse(text)
    except ValueError as error:
        raise CELEvaluationError(str(error)) from None


@LIBRARY.function("isCIDR(string) -> bool")
def is_cidr(text: str) -> bool:
    try:
        _parse(text)
    except ValueError:
        return False
    return True


@LIBRARY.function("string(CIDR) -> string")
def text_of(cidr: CIDR) -> str:
    return f"{cidr.address}/{cidr.length}"


@LIBRARY.function("CIDR.containsIP(string) -> bool", "CIDR.containsIP(IP) -> bool")
def contains_ip(cidr: CIDR, other: IP | str) -> bool:
    ip = parse_ip(other) if isinstance(other, str) else other
    return ip.address in cidr.network


@LIBRARY.function("CIDR.containsCIDR(string) -> bool", "CIDR.containsCIDR(CIDR) -> bool")
def contains_cidr(cidr: CIDR, other: CIDR | str) -> bool:
    inner = parse(other) if isinstance(other, str) else other
    return cidr.length <= inner.length and inner.address in cidr.network


@LIBRARY.function("CIDR.ip() -> IP")
def address_of(cidr: CIDR) -> IP:
    return IP(cidr.address)


@LIBRARY.function("CIDR.prefixLength() -> int")
def prefix_length(cidr: CIDR) -> int:
    return cidr.length


@LIBRARY.function("CIDR.masked() -> CIDR")
def masked(cidr: CIDR) -> CIDR:
    return CIDR(cidr.network.network_address, cidr.length)
