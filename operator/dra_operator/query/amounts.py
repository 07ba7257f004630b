"""Times and amounts as people say them."""

from __future__ import annotations

from typing import Final


def duration_of(seconds: float) -> str:
    """3 h, 12 min, 5 d."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(max(0, seconds))} s"


_BINARY: Final = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))
_DECIMAL: Final = (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3))


def amount_of(nanos: int, like: str = "") -> str:
    """A quantity of so many billionths, in the largest unit that is exact: a binary one unless `like` has another."""
    whole, rest = divmod(nanos, 10**9)
    if rest:
        return f"{nanos // 10**6}m"
    for unit, size in _DECIMAL if like.endswith(tuple("kMGTPE")) else _BINARY:
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return str(whole)
