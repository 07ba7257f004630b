"""Lists as sets: `sets.contains`, `sets.equivalent`, `sets.intersects`.

Upstream: `ext/sets.go` in cel-go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dra_operator.cel.functions import Library
from dra_operator.cel.values import is_equal

LIBRARY: Final = Library()


@LIBRARY.function("sets.contains(list<T>, list<T>) -> bool")
def contains(items: Sequence[Any], subset: Sequence[Any]) -> bool:
    return all(_member(wanted, items) for wanted in subset)


@LIBRARY.function("sets.equivalent(list<T>, list<T>) -> bool")
def equivalent(left: Sequence[Any], right: Sequence[Any]) -> bool:
    return contains(left, right) and contains(right, left)


@LIBRARY.function("sets.intersects(list<T>, list<T>) -> bool")
def intersects(left: Sequence[Any], right: Sequence[Any]) -> bool:
    return any(_member(item, right) for item in left)


def _member(wanted: Any, items: Sequence[Any]) -> bool:
    return any(is_equal(wanted, item) for item in items)
