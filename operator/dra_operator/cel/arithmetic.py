"""What the operators do with values: arithmetic, comparison, `[]` and `in`.

Integers overflow with an error instead of wrapping. Nothing is converted: `1 + 1.0` has no overload, although `1` and
`1.0` compare as equal.

Upstream: `common/types/{int,uint,double,list,map,overflow}.go` in cel-go.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from dra_operator.cel import operators as op
from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.values import (
    MAX_INT64,
    MAX_UINT64,
    MIN_INT64,
    ORDERED,
    DomainMap,
    Duration,
    JsonMap,
    MessageValue,
    MutableList,
    NameMap,
    Optional,
    Timestamp,
    UInt,
    Value,
    check_size,
    compare,
    equal,
    find_key,
    index_of,
    is_equal,
    map_key,
    no_operator,
    no_such_key,
    no_such_overload,
)

_FIRST_INSTANT: Final = -62135596800_000000000
_LAST_INSTANT: Final = 253402300799_999999999
_OPERANDS: Final = frozenset((int, UInt, float, str, bytes, list, tuple, MutableList, Duration, Timestamp))


def _signed(number: int) -> int:
    if not MIN_INT64 <= number <= MAX_INT64:
        raise CELEvaluationError("integer overflow")
    return number


def _unsigned(number: int) -> UInt:
    if not 0 <= number <= MAX_UINT64:
        raise CELEvaluationError("unsigned integer overflow")
    return UInt(number)


def _duration(nanoseconds: int) -> Duration:
    return Duration(_signed(nanoseconds))


def checked_timestamp(nanoseconds: int, offset_minutes: int = 0) -> Timestamp:
    """A timestamp within the years 1 to 9999, the range that CEL allows."""
    if not _FIRST_INSTANT <= nanoseconds <= _LAST_INSTANT:
        raise CELEvaluationError("timestamp overflow")
    return Timestamp(nanoseconds, offset_minutes)


def add(left: Value, right: Value) -> Value:
    kind = type(left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        if isinstance(left, MutableList):
            left.extend(right)
            return left
        check_size(len(left) + len(right))
        return [*left, *right]
    if kind is Duration and type(right) is Timestamp:
        return checked_timestamp(left.nanoseconds + right.nanoseconds, right.offset_minutes)
    if kind is Timestamp and type(right) is Duration:
        return checked_timestamp(left.nanoseconds + right.nanoseconds, left.offset_minutes)
    if kind is not type(right) and kind in _OPERANDS:
        raise no_such_overload()
    if kind is int:
        return _signed(left + right)
    if kind in (str, bytes, float):
        return left + right
    if kind is UInt:
        return _unsigned(int(left) + int(right))
    if kind is Duration:
        return _duration(left.nanoseconds + right.nanoseconds)
    raise no_operator("_+_", left)


def subtract(left: Value, right: Value) -> Value:
    kind = type(left)
    if kind is Timestamp and type(right) is Duration:
        return checked_timestamp(left.nanoseconds - right.nanoseconds, left.offset_minutes)
    if kind is not type(right) and kind in _OPERANDS:
        raise no_such_overload()
    if kind is int:
        return _signed(left - right)
    if kind is float:
        return left - right
    if kind is UInt:
        return _unsigned(int(left) - int(right))
    if kind is Duration or kind is Timestamp:
        return _duration(left.nanoseconds - right.nanoseconds)
    raise no_operator("_-_", left)


def multiply(left: Value, right: Value) -> Value:
    kind = type(left)
    if kind is not type(right) and kind in _OPERANDS:
        raise no_such_overload()
    if kind is int:
        return _signed(left * right)
    if kind is float:
        return left * right
    if kind is UInt:
        return _unsigned(int(left) * int(right))
    raise no_operator("_*_", left)


def divide(left: Value, right: Value) -> Value:
    kind = type(left)
    if kind is not type(right) and kind in _OPERANDS:
        raise no_such_overload()
    if kind is float:
        return _divide_doubles(left, right)
    if kind is int or kind is UInt:
        if right == 0:
            raise CELEvaluationError("division by zero")
        if kind is UInt:
            return UInt(int(left) // int(right))
        return _signed(_quotient(left, right))
    raise no_operator("_/_", left)


def _divide_doubles(left: float, right: float) -> float:
    if right != 0.0:
        return left / right
    if left == 0.0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _quotient(left: int, right: int) -> int:
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient  # towards zero, as in Go


def modulo(left: Value, right: Value) -> Value:
    kind = type(left)
    if kind is not type(right) and kind in _OPERANDS:
        raise no_such_overload()
    if kind is int or kind is UInt:
        if right == 0:
            raise CELEvaluationError("modulus by zero")
        if kind is UInt:
            return UInt(int(left) % int(right))
        _signed(_quotient(left, right))
        return left - right * _quotient(left, right)
    raise no_operator("_%_", left)


def negate(value: Value) -> Value:
    if type(value) is int:
        return _signed(-value)
    if type(value) is float:
        return -value
    if type(value) is Duration:  # not declared, but it has a minus where its type is hidden
        return _duration(-value.nanoseconds)
    raise no_operator("-_", value)


def lookup(container: Value, key: Value) -> Optional:
    """The member of a map or list, or none. Raises CELEvaluationError for an index that is no position."""
    if isinstance(container, dict):
        return find_key(container, key)
    if isinstance(container, list | tuple):
        position = index_of(key)
        return Optional(container[position]) if 0 <= position < len(container) else Optional()
    if isinstance(container, MessageValue):
        _field(container, key)
        return next((Optional(value) for name, value in container.fields if name == key), Optional())
    return Optional()


def _field(message: MessageValue, name: Value) -> Value:
    """A field of a message, also one that is not set."""
    for field, value in (*message.fields, *message.unset):
        if field == name:
            return value
    raise CELEvaluationError(f"no such field '{name}'")


def index(container: Value, key: Value) -> Value:
    """`container[key]`. Raises CELEvaluationError if there is no such member."""
    found = lookup(container, key)
    if found.present:
        return found.get()
    if isinstance(container, MessageValue):
        return _field(container, key)
    if isinstance(container, list | tuple):
        raise CELEvaluationError(f"index out of bounds: {key}")
    raise no_such_key(key)


def has_key(container: dict[Value, Value], key: Value) -> bool:
    """`key in container`. Unlike a lookup it does not find the domains that a device lacks."""
    if isinstance(container, DomainMap | NameMap | JsonMap):
        return type(key) is str and key in container  # no other key is hashed there
    return bool(container) and map_key(key) in container


def _ordered(operator: str, left: Value, right: Value) -> int:
    if type(left) in ORDERED:
        return compare(left, right)
    raise no_operator(operator, left)


def _not(value: Value) -> bool:
    if value is True or value is False:
        return not value
    raise no_such_overload()


def _not_equal(left: Value, right: Value) -> bool:
    return not is_equal(left, right)  # upstream: a comparison that fails is "not equal"


OPERATORS: Final[dict[str, Callable[..., Value]]] = {
    op.EQUALS: equal,
    op.NOT_EQUALS: _not_equal,
    op.LESS: lambda left, right: _ordered(op.LESS, left, right) < 0,
    op.LESS_EQUALS: lambda left, right: _ordered(op.LESS_EQUALS, left, right) <= 0,
    op.GREATER: lambda left, right: _ordered(op.GREATER, left, right) > 0,
    op.GREATER_EQUALS: lambda left, right: _ordered(op.GREATER_EQUALS, left, right) >= 0,
    op.ADD: add,
    op.SUBTRACT: subtract,
    op.MULTIPLY: multiply,
    op.DIVIDE: divide,
    op.MODULO: modulo,
    op.NEGATE: negate,
    op.LOGICAL_NOT: _not,
}
