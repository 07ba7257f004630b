"""Times and amounts as people say them."""

from __future__ import annotations


def duration_of(seconds: float) -> str:
    """3 h, 12 min, 5 d."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(max(0, seconds))} s"


def amount_of(nanos: int) -> str:
    """A quantity of so many billionths, in the largest binary unit that is exact."""
    whole, rest = divmod(nanos, 10**9)
    if rest:
        return f"{nanos // 10**6}m"
    for unit, size in (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return str(whole)
