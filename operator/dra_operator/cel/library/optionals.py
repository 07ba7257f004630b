"""Optional values: `optional.of(x)`, `x.hasValue()`, `x.orValue(y)`, `list.first()`, …

`or` and `orValue` are only declared here: the evaluator must not evaluate the alternative in vain.

Upstream: the optional library in `cel/library.go` of cel-go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library
from dra_operator.cel.values import NONE, Duration, MessageValue, Optional, Timestamp, shown

_ZERO_TIME: Final = -62_135_596_800 * 10**9
"""The first instant of the year 1, Go's zero."""

LIBRARY: Final = Library()
LIBRARY.declare(
    "optional<V>.or(optional<V>) -> optional<V>",
    "optional<V>.orValue(V) -> V",
)


@LIBRARY.function("optional.of(V) -> optional<V>")
def of(value: Any) -> Optional:
    return Optional(value)


@LIBRARY.function("optional.ofNonZeroValue(V) -> optional<V>")
def of_non_zero_value(value: Any) -> Optional:
    return NONE if _is_zero(value) else Optional(value)


def _is_zero(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, MessageValue):
        return not value.fields
    if isinstance(value, Duration):
        return value.nanoseconds == 0
    if isinstance(value, Timestamp):
        return value.nanoseconds == _ZERO_TIME
    return isinstance(value, bool | int | float | str | bytes | list | tuple | dict) and not value


@LIBRARY.function("optional.none() -> optional<V>")
def none() -> Optional:
    return NONE


@LIBRARY.function("optional<V>.value() -> V")
def value(optional: Optional) -> Any:
    return optional.get()


@LIBRARY.function("optional<V>.hasValue() -> bool")
def has_value(optional: Optional) -> bool:
    return optional.present


@LIBRARY.function("list<V>.first() -> optional<V>")
def first(items: Sequence[Any]) -> Optional:
    return Optional(items[0]) if items else NONE


@LIBRARY.function("list<V>.last() -> optional<V>")
def last(items: Sequence[Any]) -> Optional:
    return Optional(items[-1]) if items else NONE


@LIBRARY.function("optional.unwrap(list<optional<V>>) -> list<V>", "list<optional<V>>.unwrapOpt() -> list<V>")
def unwrap(items: Sequence[Any]) -> list[Any]:
    for item in items:
        if not isinstance(item, Optional):
            raise CELEvaluationError(f"value {shown(item)} is not optional")
    return [item.get() for item in items if item.present]
