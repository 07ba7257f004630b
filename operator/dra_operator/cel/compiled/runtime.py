"""What compiled selectors call where the fast way does not apply.

Each function does exactly what the evaluator does for the same node, without counting; generated code counts by
itself. They are the only functions that generated code sees besides the library's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from dra_operator.cel import arithmetic
from dra_operator.cel.containers import (
    accumulator,
    contains,
    contains_constant,
    frozen,
    items_of,
    list_item,
    put,
    put_optional,
)
from dra_operator.cel.errors import CELCostError, CELEvaluationError, CELRuntimeError
from dra_operator.cel.evaluate import Failed
from dra_operator.cel.functions import Overload, choose
from dra_operator.cel.values import (
    NONE,
    MutableList,
    MutableMap,
    Optional,
    Value,
    check_index,
    equal,
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


def not_a_bool() -> CELEvaluationError:
    return no_such_overload()


def too_expensive() -> CELCostError:
    return CELCostError("operation cancelled: actual cost limit exceeded")


def the_value(optional: Value) -> Value:
    """What an optional holds, or UNSET."""
    if type(optional) is not Optional:
        raise no_such_overload()
    return optional.get() if optional.present else UNSET


def pairs_of(over: Value) -> Iterator[tuple[Value, Value]]:
    """What a fold with two variables goes over."""
    return items_of(over, pairs=True)


def elements_of(over: Value) -> Iterator[Value]:
    """What a fold with one variable goes over."""
    if type(over) in (list, tuple):
        return iter(over)
    return (item for item, _ in items_of(over, pairs=False))


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
