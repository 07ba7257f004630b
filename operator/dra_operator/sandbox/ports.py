"""Ports of loopback for the programs of a sandbox.

They lie below those that the kernel gives to connections: a port that is found free is still free when its program
starts, and when that is started again, though a thousand connections were opened meanwhile. What remains is that two
who look at the same time find the same one; they choose at random among thousands.
"""

from __future__ import annotations

import secrets
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final

_LOWEST: Final = 15_000
_FEWEST: Final = 1_000
"""Ports below the kernel's; where there are fewer, it is asked for one of its own."""
_CONNECTIONS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_CONNECTIONS_FROM: Final = 32_768
"""Linux's default."""
_TRIES: Final = 200


def free_port() -> int:
    """One that nobody listens on."""
    [port] = free_ports(1)
    return port


def free_ports(count: int) -> list[int]:
    """So many, all different."""
    with ExitStack() as held:
        return [_hold(held) for _ in range(count)]


def _hold(held: ExitStack) -> int:
    room = _first_of_connections() - _LOWEST
    for _ in range(_TRIES if room >= _FEWEST else 0):
        if _is_free(held, port := _LOWEST + secrets.randbelow(room)):
            return port
    one = held.enter_context(socket.socket())
    one.bind(("127.0.0.1", 0))
    return int(one.getsockname()[1])


def _is_free(held: ExitStack, port: int) -> bool:
    one = held.enter_context(socket.socket())
    try:
        one.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _first_of_connections() -> int:
    try:
        return int(_CONNECTIONS.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _CONNECTIONS_FROM
