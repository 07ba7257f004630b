"""Makes a case that differs small: takes away whatever it still differs without.

Delta debugging over the plain JSON: every list loses halves, quarters, ... single elements, every object loses fields,
again and again until nothing more can go. What a case needs to be one (names, classes of requests, a pool) stays, as
the oracle would refuse it otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Final

Json = Any
Path = tuple[str | int, ...]

_NEEDED: Final = frozenset(
    (
        *("id", "metadata", "name", "namespace", "uid", "spec", "status", "allocation", "devices"),
        *("deviceClasses", "resourceSlices", "allocatedClaims", "claims", "nodes", "requests", "results", "request"),
        *("driver", "pool", "device", "deviceClassName", "allocationMode", "exactly", "cel", "expression", "value"),
        *("resourceSliceCount", "generation", "counterSet", "key", "operator", "effect", "opaque", "parameters"),
        *("matchAttribute", "distinctAttribute", "count"),
    )
)
"""Fields that are never taken away by themselves."""


def shrink(case: Json, differs: Callable[[Json], bool], attempts: int = 3000) -> Json:
    """The smallest case found for which `differs` still holds, as it does for `case`."""
    small = copy.deepcopy(case)
    small.pop("want", None)
    budget = attempts
    progress = True
    while progress:
        progress = False
        for path, start, count in list(_cuts(small)):
            if budget == 0:
                return small
            cut = _without(small, path, start, count)
            if cut is None:
                continue
            budget -= 1
            if differs(cut):
                small, progress = cut, True
    return small


def _cuts(value: Json, path: Path = ()) -> Iterator[tuple[Path, Any, int]]:
    """What could go: of a list, some elements from a position on; of an object, one field (a count of 0)."""
    if isinstance(value, list):
        size = len(value)
        while size:
            for start in reversed(range(0, len(value), size)):
                yield path, start, size
            size //= 2
        for index in reversed(range(len(value))):
            yield from _cuts(value[index], (*path, index))
    elif isinstance(value, dict):
        for name in value:
            if name not in _NEEDED:
                yield path, name, 0
        for name, inner in value.items():
            yield from _cuts(inner, (*path, name))


def _without(case: Json, path: Path, what: Any, count: int) -> Json | None:
    """A copy without that; None if it is gone already, since something around it is."""
    cut = copy.deepcopy(case)
    place = cut
    try:
        for step in path:
            place = place[step]
        if count:
            if what >= len(place):
                return None
            del place[what : what + count]
        else:
            del place[what]
    except (KeyError, IndexError, TypeError):
        return None
    return cut
