"""What compiled selectors call where the fast way does not apply.

Each function does exactly what the evaluator does for the same node, without counting; generated code counts by
itself. They are the only functions that generated code sees besides the library's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from dra_operator.cel import arithmetic
from dra_operator.cel.errors import CELCostError, CELEvaluationError, CELRuntimeError
from dra_operator.cel.evaluate import UNHASHABLE_UPSTREAM, Failed, choose, items_of
from dra_operator.cel.functions import Overload
from dra_operator.cel.values import (
    NONE,
    MutableList,
    MutableMap,
    Optional,
    Value,
    check_index,
    equal,
    go_type_name,
    is_equal,
    map_key,
    no_such_overload,
    text_within,
)

UNSET: Final = object()


def select(container: Value, field: str) -> Value:
    """`container.field`."""
    if type(container) is Optional:
        return arithmetic.lookup(container.get(), field) if container.present else NONE
    return arithmetic.index(container, field)


def member(container: Value, key: Value) -> Value:
    """`container[key]`."""
    if type(container) is Optional:
        if not container.present:
            return NONE
        check_index(key)
        return arithmetic.lookup(container.get(), key)
    check_index(key)
    return arithmetic.index(container, key)


def optional_member(container: Value, key: Value) -> Optional:
    """`container[?key]`."""
    if type(container) is Optional:
        if not container.present:
            return NONE
        container = container.get()
    check_index(key)
    return arithmetic.lookup(container, key)


def is_present(container: Value, field: str) -> bool:
    """`has(container.field)`."""
    if type(container) is Optional:
        if not container.present:
            return False
        container = container.get()
    return arithmetic.lookup(container, field).present


def contains(item: Value, container: Value) -> bool:
    """`item in container`."""
    if isinstance(container, dict):
        return arithmetic.has_key(container, item)
    if isinstance(container, list | tuple):
        return any(is_equal(item, other) for other in container)
    raise no_such_overload()


def contains_constant(item: Value, container: list[Value]) -> bool:
    """`item in [constants]`, for which upstream looks into a set."""
    if isinstance(item, UNHASHABLE_UPSTREAM):
        name = go_type_name(item)
        raise CELRuntimeError(f"internal error: runtime error: hash of unhashable type {name}")
    return any(is_equal(item, other) for other in container)


def not_a_bool() -> CELEvaluationError:
    return no_such_overload()


def too_expensive() -> CELCostError:
    return CELCostError("operation cancelled: actual cost limit exceeded")


def the_value(optional: Value) -> Value:
    """What an optional holds, or UNSET."""
    if type(optional) is not Optional:
        raise no_such_overload()
    return optional.get() if optional.present else UNSET


def list_item(value: Value) -> tuple[Value, ...]:
    """What `[?value]` adds to a list."""
    if not isinstance(value, Optional):
        raise CELEvaluationError(f"cannot initialize optional list element from non-optional value {value}")
    return (value.get(),) if value.present else ()


def put(entries: dict[Value, Value], key: Value, value: Value) -> None:
    entries[key] = value


def put_optional(entries: dict[Value, Value], key: Value, value: Value) -> None:
    """What `{?key: value}` does to a map."""
    if not isinstance(value, Optional):
        raise CELEvaluationError(f"cannot initialize optional entry from non-optional value {value}")
    if value.present:
        entries[key] = value.get()
    else:
        entries.pop(key, None)


def pairs_of(over: Value) -> Iterator[tuple[Value, Value]]:
    """What a fold with two variables goes over."""
    return items_of(over, pairs=True)


def elements_of(over: Value) -> Iterator[Value]:
    """What a fold with one variable goes over."""
    if type(over) in (list, tuple):
        return iter(over)
    return (item for item, _ in items_of(over, pairs=False))


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


def _kind_of(value: Value) -> object:
    """The type; of a list that of its first element, too, which decides among overloads."""
    return (type(value), type(value[0])) if isinstance(value, list | tuple) and value else type(value)


class Dispatch:
    """A call whose overload depends on the values: chosen once for each combination of types."""

    __slots__ = ("_brief", "_chosen", "_kind", "_name", "_overloads")

    def __init__(self, name: str, overloads: tuple[Overload, ...], *, brief: bool) -> None:
        self._name = name
        self._overloads = overloads
        self._brief = brief
        self._kind = _kind_of if any(overload.looks_into_lists for overload in overloads) else type
        self._chosen: dict[tuple[object, ...], Callable[..., Any] | None] = {}

    def find(self, *args: Value) -> Callable[..., Any]:
        """The implementation for these values. Raises CELEvaluationError."""
        types = tuple(map(self._kind, args))
        try:
            call = self._chosen[types]
        except KeyError:
            call = self._chosen[types] = choose(self._overloads, args)
        if call is None:
            raise no_such_overload() if self._brief else no_such_overload(self._name, *args)
        return call

    def __call__(self, *args: Value) -> Value:
        return self.find(*args)(*args)


HELPERS: Final[dict[str, Any]] = {
    function.__name__: function
    for function in (
        accumulator,
        check_index,
        contains,
        contains_constant,
        elements_of,
        equal,
        frozen,
        is_present,
        list_item,
        map_key,
        member,
        not_a_bool,
        optional_member,
        pairs_of,
        put,
        put_optional,
        select,
        text_within,
        the_value,
        too_expensive,
        type,
        str,
        int,
        bool,
        float,
        CELEvaluationError,
        CELRuntimeError,
        Failed,
        MutableList,
        MutableMap,
        Optional,
    )
} | {"UNSET": UNSET, "NONE": NONE}
