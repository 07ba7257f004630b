"""What lists, maps and folds do with values: told once, for the evaluator and for generated code.

Upstream: `adapter` of lists and maps in common/types, `interpretable.go` in cel-go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dra_operator.api.semver import Version
from dra_operator.cel import arithmetic
from dra_operator.cel.errors import CELEvaluationError, CELRuntimeError
from dra_operator.cel.library.formats import Format
from dra_operator.cel.values import (
    MutableList,
    MutableMap,
    Optional,
    Value,
    go_type_name,
    is_equal,
    key_value,
    no_such_overload,
    shown,
)

_UNHASHABLE_UPSTREAM: Final = (Version, bytes, Format)

# -- membership


def contains(item: Value, container: Value) -> bool:
    """`item in container`."""
    if isinstance(container, dict):
        return arithmetic.has_key(container, item)
    if isinstance(container, list | tuple):
        return any(is_equal(item, other) for other in container)
    raise no_such_overload()


def contains_constant(item: Value, container: list[Value]) -> bool:
    """`item in [constants]`, for which upstream looks into a set."""
    if isinstance(item, _UNHASHABLE_UPSTREAM):
        name = go_type_name(item)
        raise CELRuntimeError(f"internal error: runtime error: hash of unhashable type {name}")
    return any(is_equal(item, other) for other in container)


# -- literals: what is optional may add nothing


def list_item(value: Value) -> tuple[Value, ...]:
    """What `[?value]` adds to a list."""
    if not isinstance(value, Optional):
        raise CELEvaluationError(f"cannot initialize optional list element from non-optional value {shown(value)}")
    return (value.get(),) if value.present else ()


def put(entries: dict[Value, Value], key: Value, value: Value) -> None:
    entries[key] = value


def put_optional(entries: dict[Value, Value], key: Value, value: Value) -> None:
    """What `{?key: value}` does to a map."""
    if not isinstance(value, Optional):
        raise CELEvaluationError(f"cannot initialize optional entry from non-optional value {shown(value)}")
    if value.present:
        entries[key] = value.get()
    else:
        entries.pop(key, None)


# -- folds


def items_of(over: Value, *, pairs: bool) -> Iterator[tuple[Value, Value]]:
    """What a fold goes over: items, or keys, or both with what they stand for."""
    if isinstance(over, dict):
        return ((key_value(key), value) for key, value in list(over.items()))
    if isinstance(over, list | tuple):
        return enumerate(over) if pairs else ((item, None) for item in over)
    if pairs:
        raise CELEvaluationError(f"unsupported comprehension range type: {go_type_name(over)}")
    raise CELEvaluationError(f"got '{go_type_name(over)}', expected iterable type")


def frozen(result: Value) -> Value:
    """The result of a fold, that nothing extends any more."""
    if type(result) is MutableList:
        return list(result)
    return dict(result) if type(result) is MutableMap else result


def accumulator(value: Value) -> Value:
    """How a fold or a binding holds its first value."""
    if isinstance(value, list | tuple) and not value:
        return MutableList()
    if isinstance(value, dict) and not value:
        return MutableMap()
    return value
