"""CEL values as Python objects, and the rules that hold for all of them: type names, equality, order, map keys.

bool, int, float, str, bytes and None stand for themselves, lists are lists or tuples, maps are dicts. What Python lacks
is here: unsigned integers, optionals, types as values, durations and timestamps. Lists and maps are never changed
once an expression can see them, except the accumulator of a fold (`MutableList`).

Equality is heterogeneous: numbers compare across types, other unlike things differ. A Kubernetes value on the left of
anything else is an error instead, which is upstream's habit: `version == "1.0.0"` fails, `"1.0.0" == version` is false.

Upstream: `common/types` in cel-go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import repeat
from typing import Any, Final, TypeAlias

from dra_operator.api.quantity import Quantity
from dra_operator.api.semver import Version
from dra_operator.cel.errors import CELCostError, CELEvaluationError, CELRuntimeError

_MAX_ELEMENTS: Final = 2_000_000
MAX_INT64: Final = (1 << 63) - 1
MIN_INT64: Final = -(1 << 63)
MAX_UINT64: Final = (1 << 64) - 1

Value = Any  # checked by type name at run time, as in CEL itself


class UInt(int):
    """An unsigned 64-bit integer. Equal to the int of the same size, but not the same type."""

    __slots__ = ()


class MutableList(list[Value]):
    """The list that a fold builds up; adding to it extends it in place. Upstream does the same."""

    __slots__ = ()


class MutableMap(dict[Value, Value]):
    """The map that a fold builds up."""

    __slots__ = ()


class JsonMap(dict[Value, Value]):
    """What `google.protobuf.Struct` gives: its keys are strings, and no other key is hashed to look there."""

    __slots__ = ()


class DomainMap(dict[Value, Value]):
    """`device.attributes` and `device.capacity`: any key that is missing finds an empty map."""

    __slots__ = ()

    def __missing__(self, key: Value) -> NameMap:
        return NO_NAMES


class NameMap(dict[Value, Value]):
    """The attributes or capacities of one domain. Their names are strings; one that is missing is an error."""

    __slots__ = ()

    def __missing__(self, key: str) -> Value:
        raise no_such_key(key)


class BoolKey(Enum):
    """How true and false are kept as map keys: to Python, True would be the same key as 1."""

    FALSE = False
    TRUE = True


@dataclass(frozen=True, slots=True, eq=False)
class IdentityKey:
    """A map key that is found only by itself, like a list."""

    value: Value


@dataclass(frozen=True, slots=True)
class TypeValue:
    """A type as a value: what `type(x)` gives and what names like `string` stand for."""

    name: str


@dataclass(frozen=True, slots=True)
class Duration:
    nanoseconds: int


@dataclass(frozen=True, slots=True, eq=False)
class Timestamp:
    """An instant, with the UTC offset that it was written with (it only shows in `string()`)."""

    nanoseconds: int  # since 1970-01-01T00:00:00Z
    offset_minutes: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and self.nanoseconds == other.nanoseconds

    def __hash__(self) -> int:
        return hash(self.nanoseconds)


@dataclass(frozen=True, slots=True)
class MessageValue:
    """A protobuf message that stands for nothing else: `google.protobuf.Empty{}`."""

    type_name: str
    fields: tuple[tuple[str, Value], ...] = ()  # those that are set
    unset: tuple[tuple[str, Value], ...] = ()  # the others, and what reading them gives


class Opaque:
    """A value of a Kubernetes library type: compares only with its own kind."""

    __slots__ = ()
    type_name: str

    def __repr__(self) -> str:
        held: tuple[str, ...] = self.__slots__
        return f"{self.type_name}({', '.join(str(getattr(self, name)) for name in held)})"


class Optional:
    """A value or none."""

    __slots__ = ("_value",)
    _ABSENT: Final = object()

    def __init__(self, value: Value = _ABSENT) -> None:
        self._value = value

    def __repr__(self) -> str:
        return f"Optional({self._value!r})" if self.present else "NONE"

    @property
    def present(self) -> bool:
        return self._value is not Optional._ABSENT

    def get(self) -> Value:
        if self._value is Optional._ABSENT:
            raise CELEvaluationError("optional.none() dereference")
        return self._value


def text_within(value: Value) -> Value:
    """The text that a call with a constant pattern finds in a value: also inside an optional, and a type's name."""
    while type(value) is Optional and value.present:
        value = value.get()
    return value.name if type(value) is TypeValue else value


NONE: Final = Optional()
NO_NAMES: Final = NameMap()


class ComputedQuantity(Quantity):
    """What `add` and `sub` give. Upstream gives a pointer there, and a quantity cannot be compared with one by `==`."""

    __slots__ = ()

    @classmethod
    def of(cls, amount: Quantity) -> ComputedQuantity:
        return cls(amount._unscaled, amount._scale, amount._notation, wide=amount._wide)


_TYPE_NAMES: Final[dict[type, str]] = {
    type(None): "null_type",
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    tuple: "list",
    MutableList: "list",
    dict: "map",
    MutableMap: "map",
    JsonMap: "map",
    DomainMap: "map",
    NameMap: "map",
    TypeValue: "type",
    Duration: "google.protobuf.Duration",
    Timestamp: "google.protobuf.Timestamp",
    Optional: "optional_type",
    Quantity: "kubernetes.Quantity",
    ComputedQuantity: "kubernetes.Quantity",
    Version: "kubernetes.Semver",
}
_NUMBERS: Final = frozenset((int, UInt, float))
ORDERED: Final = frozenset((bool, int, UInt, float, str, bytes, Duration, Timestamp))
_PLAIN_KEYS: Final = frozenset((UInt, type(None), TypeValue, Duration, Timestamp))
_LISTS: Final = (list, tuple)
_WITH_PARTS: Final = (list, tuple, dict, Optional)
_Known: TypeAlias = dict[tuple[int, int], tuple[bool, Value, Value]]
"""By the ids of two values; they are in it too, so that the ids stay theirs."""
_SELF_COMPARING: Final = (Version, Quantity, Opaque)


def shown(value: Value) -> str:
    """For messages. Of lists and maps only what they are: the text of one can be longer than any memory."""
    return type_name(value) if isinstance(value, _WITH_PARTS) else str(value)


def type_name(value: Value) -> str:
    """The CEL type of a value: `int`, `list`, `kubernetes.Semver`, …"""
    name = _TYPE_NAMES.get(type(value))
    return name if name is not None else str(value.type_name)


def go_type_name(value: Value) -> str:
    """The Go type that upstream names in some of its messages."""
    name = type_name(value)
    if name.startswith("kubernetes."):
        return f"cel.{name.removeprefix('kubernetes.')}"
    return f"types.{name.rpartition('.')[2].removesuffix('_type').capitalize()}"


def no_such_overload(function: str | None = None, *args: Value) -> CELEvaluationError:
    """The error for operands of the wrong type."""
    if function is None:
        return CELEvaluationError("no such overload")
    return CELEvaluationError(f"no such overload: {function}({', '.join(map(type_name, args))})")


def no_such_key(key: Value) -> CELEvaluationError:
    """The error for a key that a map lacks."""
    return CELEvaluationError(f"no such key: {key if isinstance(key, str | int) else type_name(key)}")


def no_operator(operator: str, left: Value) -> CELEvaluationError:
    """The error for an operator that the type of its left operand lacks. Of strings upstream says less."""
    return CELEvaluationError("no such overload" if isinstance(left, str) else f"no such overload: {operator}")


def equal(left: Value, right: Value, known: _Known | None = None) -> bool:
    """`left == right`. Raises CELEvaluationError where `left` is a Kubernetes value and `right` of another type.

    `known`: what was found out about the parts of lists and maps. A list of a variable twice, and a list of that twice,
    and so on, has more parts than anybody can compare, and few that differ.
    """
    left_type, right_type = type(left), type(right)
    if left_type is right_type and left_type in (str, int, bool, UInt):
        return bool(left == right)
    if left is None or right is None:
        return left is right
    if left_type in _NUMBERS:
        return right_type in _NUMBERS and _same_number(left, right)
    if isinstance(left, _LISTS):
        if not isinstance(right, _LISTS) or len(left) != len(right):
            return False
        return all(map(_not_unequal, left, right, repeat({} if known is None else known)))
    if isinstance(left, dict):
        return isinstance(right, dict) and _equal_maps(left, right, {} if known is None else known)
    if isinstance(left, _SELF_COMPARING):
        if right_type is not (Quantity if left_type is ComputedQuantity else left_type):
            raise no_such_overload()
        return bool(left == right)
    if isinstance(left, Optional):
        if not isinstance(right, Optional) or left.present != right.present:
            return False
        return not left.present or equal(left.get(), right.get(), known)
    return left_type is right_type and bool(left == right)


def _same_number(left: Value, right: Value) -> bool:
    if type(left) is float or type(right) is float:
        return float(left) == float(right)  # Python would compare exactly, Go converts to double
    return int(left) == int(right)


def is_equal(left: Value, right: Value) -> bool:
    """Like `equal`, but a comparison that fails means not equal: how members of lists are looked for."""
    try:
        return equal(left, right)
    except CELEvaluationError:
        return False


def _not_unequal(left: Value, right: Value, known: _Known) -> bool:
    if not isinstance(left, _WITH_PARTS):
        return _none_differs(left, right, known)
    pair = id(left), id(right)
    found = known.get(pair)
    if found is None:
        found = known[pair] = _none_differs(left, right, known), left, right
    return found[0]


def _none_differs(left: Value, right: Value, known: _Known) -> bool:
    # Upstream goes on to the next element when comparing two elements fails.
    try:
        return equal(left, right, known)
    except CELEvaluationError:
        return True


def _equal_maps(left: dict[Value, Value], right: dict[Value, Value], known: _Known) -> bool:
    if len(left) != len(right):
        return False
    for key, value in left.items():
        if key in right:
            other = right[key]
        elif type(right) is DomainMap:
            other = NO_NAMES
        else:
            return False
        if not _not_unequal(value, other, known):
            return False
    return True


def compare(left: Value, right: Value) -> int:
    """-1, 0 or 1. Raises CELEvaluationError for things that have no order."""
    left_type, right_type = type(left), type(right)
    if left_type in _NUMBERS:
        if right_type not in _NUMBERS:
            raise no_such_overload()
        if left != left or right != right:
            raise CELEvaluationError("NaN values cannot be ordered")
        if left_type is float or right_type is float:
            return _order(float(left), float(right))
        return _order(left, right)
    if left_type is not right_type:
        raise no_such_overload()
    if left_type in (str, bytes, bool):
        return _order(left, right)
    if left_type is Duration or left_type is Timestamp:
        return _order(left.nanoseconds, right.nanoseconds)
    raise no_such_overload()


def _order(left: Value, right: Value) -> int:
    return int(left > right) - int(left < right)


def map_key(value: Value) -> Value:
    """How a key is kept in a dict."""
    kind = type(value)
    if kind is str or kind is int:
        return value
    if kind is bool:
        return BoolKey.TRUE if value else BoolKey.FALSE
    if kind is bytes or kind is Version:
        name = go_type_name(value)  # upstream panics, which no operator absorbs
        raise CELRuntimeError(f"internal error: runtime error: hash of unhashable type {name}")
    if kind in _PLAIN_KEYS:
        return value
    return value if kind is float and not math.isnan(value) else IdentityKey(value)


def key_value(key: Value) -> Value:
    """The key that an expression sees."""
    return key.value if isinstance(key, BoolKey | IdentityKey) else key


def find_key(mapping: Mapping[Value, Value], key: Value) -> Optional:
    """The value at `key`, or none."""
    kept = map_key(key)
    if kept in mapping:
        return Optional(mapping[kept])
    return Optional(NO_NAMES) if type(mapping) is DomainMap else NONE


def check_index(key: Value) -> None:
    """Raises CELEvaluationError if nothing can be indexed with `key`, whatever it is."""
    if not isinstance(key, bool | int | float | str):
        raise CELEvaluationError(f"invalid qualifier type: {go_type_name(key)}")


def check_size(elements: int) -> None:
    """Refuses to build what is absurdly large. Raises CELCostError."""
    if elements > _MAX_ELEMENTS:
        raise CELCostError("operation cancelled: actual cost limit exceeded")


def index_of(value: Value) -> int:
    """A list position. Doubles and unsigned integers will do if they are whole."""
    if type(value) is int:
        return value
    if type(value) is UInt or type(value) is float:
        if value == value // 1 and MIN_INT64 <= value <= MAX_INT64:
            return int(value)
        raise CELEvaluationError(f"unsupported index value {value} in list")
    raise CELEvaluationError(f"unsupported index type '{type_name(value)}' in list")
