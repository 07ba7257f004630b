"""Lists: `sum`, `min`, `sort`, `distinct`, `slice`, `includes`, …

`includes` is of the DRA environment: on a list it looks for a member, on a scalar it compares, so that an attribute can
become a list without breaking selectors.

Upstream: `pkg/cel/library/lists.go` in k8s.io/apiserver, `ext/lists.go` version 3 in cel-go.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cmp_to_key
from typing import Any, Final

from dra_operator.cel import arithmetic
from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library
from dra_operator.cel.values import ORDERED, Duration, UInt, check_size, compare, is_equal, no_such_overload, type_name

LIBRARY: Final = Library()

_MAX_RANGE: Final = 1_000_000
_INSERTED: Final = 12
"""Go sorts so few by insertion; with more, and NaN among them, its order is nothing that anybody relies on."""
_COMPARABLE: Final = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_ZEROS: Final[dict[str, Any]] = {"int": 0, "uint": UInt(0), "double": 0.0, "duration": Duration(0)}


def _for_comparable(template: str) -> tuple[str, ...]:
    return tuple(template.replace("E", element) for element in _COMPARABLE)


def _declare_sum(element: str, zero: Any) -> None:
    @LIBRARY.function(f"list<{element}>.sum() -> {element}")
    def total(items: Sequence[Any]) -> Any:
        result = zero
        for item in items:
            result = arithmetic.add(result, item)
        return result


for _element, _zero in _ZEROS.items():
    _declare_sum(_element, _zero)


@LIBRARY.function(*_for_comparable("list<E>.isSorted() -> bool"))
def is_sorted(items: Sequence[Any]) -> bool:
    for i, item in enumerate(items):
        _require_order((item,))
        if i and _order(items[i - 1], item) == 1:
            return False  # what comes behind is not looked at, and may have no order
    return True


@LIBRARY.function(*_for_comparable("list<E>.max() -> E"))
def largest(items: Sequence[Any]) -> Any:
    return _extreme("max", items, -1)


@LIBRARY.function(*_for_comparable("list<E>.min() -> E"))
def smallest(items: Sequence[Any]) -> Any:
    return _extreme("min", items, 1)


def _extreme(name: str, items: Sequence[Any], replace_when: int) -> Any:
    if not items:
        raise CELEvaluationError(f"{name} called on empty list")
    _require_order(items)
    result = items[0]
    for item in items[1:]:
        if _order(result, item) == replace_when:
            result = item
    return result


def _require_order(items: Sequence[Any]) -> None:
    if not all(type(item) in ORDERED for item in items):
        raise no_such_overload()


def _order(left: Any, right: Any) -> int | None:
    """How two members compare. None if they do not, like NaN or what is of another type: that is no error here."""
    try:
        return compare(left, right)
    except CELEvaluationError:
        return None


@LIBRARY.function("list<A>.indexOf(A) -> int")
def index_of(items: Sequence[Any], wanted: Any) -> int:
    return next((i for i, item in enumerate(items) if is_equal(item, wanted)), -1)


@LIBRARY.function("list<A>.lastIndexOf(A) -> int")
def last_index_of(items: Sequence[Any], wanted: Any) -> int:
    return next((i for i in range(len(items) - 1, -1, -1) if is_equal(items[i], wanted)), -1)


@LIBRARY.function("dyn.includes(dyn) -> bool")
def includes(target: Any, wanted: Any) -> bool:
    if isinstance(target, list | tuple):
        return any(is_equal(item, wanted) for item in target)
    return is_equal(target, wanted)


@LIBRARY.function("list<T>.slice(int, int) -> list<T>")
def cut(items: Sequence[Any], start: int, end: int) -> Sequence[Any]:
    if start < 0 or end < 0:
        raise CELEvaluationError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise CELEvaluationError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if len(items) < end:
        raise CELEvaluationError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return items[start:end]


@LIBRARY.function("list<list<T>>.flatten() -> list<T>", "list<dyn>.flatten(int) -> list<dyn>", any_elements=True)
def flatten(items: Sequence[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise CELEvaluationError("level must be non-negative")
    check_size(_flat_size(items, depth, {}))
    return _flat(items, depth)


def _flat(items: Sequence[Any], depth: int) -> list[Any]:
    flat: list[Any] = []
    for item in items:
        if depth and isinstance(item, list | tuple):
            flat.extend(_flat(item, depth - 1))
        else:
            flat.append(item)
    return flat


def _flat_size(items: Sequence[Any], depth: int, known: dict[tuple[int, int], int]) -> int:
    """How many there will be, without going through a list again that is in there many times."""
    key = id(items), depth
    if key not in known:
        known[key] = sum(
            _flat_size(item, depth - 1, known) if depth and isinstance(item, list | tuple) else 1 for item in items
        )
    return known[key]


@LIBRARY.function(*_for_comparable("list<E>.sort() -> list<E>"), any_elements=True)
def ordered(items: Sequence[Any]) -> list[Any]:
    return sort_by_keys(items, items)


@LIBRARY.function(*_for_comparable("list<T>.@sortByAssociatedKeys(list<E>) -> list<T>"), any_elements=True)
def sort_by_keys(items: Sequence[Any], keys: Sequence[Any]) -> list[Any]:
    """The target of `sortBy`."""
    if len({type_name(key) for key in keys}) > 1:
        raise CELEvaluationError("list elements must have the same type")
    if keys and type(keys[0]) not in ORDERED:
        raise CELEvaluationError("list elements must be comparable")
    if len(keys) <= _INSERTED and any(key != key for key in keys):
        return [items[i] for i in _inserted(keys)]
    positions = sorted(range(len(items)), key=lambda i: _BY_ORDER(keys[i]))
    return [items[i] for i in positions]


_BY_ORDER: Final = cmp_to_key(lambda left, right: _order(left, right) or 0)


def _inserted(keys: Sequence[Any]) -> list[int]:
    """Positions in the order that Go's sort leaves when some keys are NaN: those are before nothing, behind nothing."""
    positions: list[int] = []
    for new in range(len(keys)):
        place = len(positions)
        while place and keys[new] < keys[positions[place - 1]]:
            place -= 1
        positions.insert(place, new)
    return positions


@LIBRARY.function("lists.range(int) -> list<int>")
def integers(size: int) -> list[int]:
    if size < 0:
        raise CELEvaluationError(f"lists.range: size must be non-negative, got {size}")
    if size > _MAX_RANGE:
        raise CELEvaluationError(f"lists.range: size {size} exceeds maximum allowed ({_MAX_RANGE})")
    return list(range(size))


@LIBRARY.function("list<T>.reverse() -> list<T>")
def backwards(items: Sequence[Any]) -> list[Any]:
    return list(items[::-1])


@LIBRARY.function("list<T>.distinct() -> list<T>")
def distinct(items: Sequence[Any]) -> list[Any]:
    unique: list[Any] = []
    for item in items:
        if not any(is_equal(item, other) for other in unique):
            unique.append(item)
    return unique
