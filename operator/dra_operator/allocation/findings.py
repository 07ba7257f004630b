"""What one node has for a plan, in numbers: hashable, so that nodes which look the same are counted together.

The numbers are found in `explain.py` and remembered in `refusals.py`.
"""

from __future__ import annotations

from typing import NamedTuple


class Counts(NamedTuple):
    """Devices by the first hurdle that stopped them."""

    published: int = 0
    in_class: int = 0
    matching: int = 0
    in_use: int = 0
    tainted: int = 0
    without_capacity: int = 0
    without_counters: int = 0
    free: int = 0


class Finding(NamedTuple):
    """What one node has for a plan: the counts of each alternative of each request, and pools that are not usable."""

    counts: tuple[tuple[Counts, ...], ...]
    incomplete: int = 0
    invalid: str = ""
