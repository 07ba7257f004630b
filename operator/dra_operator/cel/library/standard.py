"""The standard library: signatures of the operators, `size`, and the plain string tests.

Operators have no implementation here: `arithmetic.py` has it, because they dispatch on values and the evaluator must
not evaluate all operands of some of them.

Upstream: `common/stdlib/standard.go` in cel-go.
"""

from __future__ import annotations

from typing import Any, Final

from dra_operator.cel import operators as op
from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library, make_overload
from dra_operator.cel.library.regex import compile_pattern
from dra_operator.cel.values import MutableMap, find_key, key_value, map_key

LIBRARY: Final = Library()


def _declare_operators() -> None:
    def declare(function: str, result: str, *args: str) -> None:
        LIBRARY.overloads.append(make_overload(function, args, result, None))

    declare(op.CONDITIONAL, "A", "bool", "A", "A")
    declare(op.LOGICAL_AND, "bool", "bool", "bool")
    declare(op.LOGICAL_OR, "bool", "bool", "bool")
    declare(op.LOGICAL_NOT, "bool", "bool")
    declare(op.NOT_STRICTLY_FALSE, "bool", "bool")
    declare(op.EQUALS, "bool", "A", "A")
    declare(op.NOT_EQUALS, "bool", "A", "A")
    # The order is upstream's: an operand of no known type becomes what the first overload wants.
    for function in (op.LESS, op.LESS_EQUALS, op.GREATER, op.GREATER_EQUALS):
        declare(function, "bool", "bool", "bool")
        for left, *others in (("int", "double", "uint"), ("uint", "double", "int"), ("double", "int", "uint")):
            for right in (left, *others):
                declare(function, "bool", left, right)
        for kind in ("string", "bytes", "timestamp", "duration"):
            declare(function, "bool", kind, kind)
    for kind in ("bytes", "double", "duration"):
        declare(op.ADD, kind, kind, kind)
    declare(op.ADD, "timestamp", "duration", "timestamp")
    declare(op.ADD, "timestamp", "timestamp", "duration")
    for kind in ("int", "list<A>", "string", "uint"):
        declare(op.ADD, kind, kind, kind)
    for kind in ("double", "duration", "int"):
        declare(op.SUBTRACT, kind, kind, kind)
    declare(op.SUBTRACT, "timestamp", "timestamp", "duration")
    declare(op.SUBTRACT, "duration", "timestamp", "timestamp")
    declare(op.SUBTRACT, "uint", "uint", "uint")
    for kind in ("double", "int", "uint"):
        declare(op.MULTIPLY, kind, kind, kind)
        declare(op.DIVIDE, kind, kind, kind)
    declare(op.MODULO, "int", "int", "int")
    declare(op.MODULO, "uint", "uint", "uint")
    declare(op.NEGATE, "double", "double")
    declare(op.NEGATE, "int", "int")
    declare(op.INDEX, "A", "list<A>", "int")
    declare(op.INDEX, "B", "map<A, B>", "A")
    declare(op.INDEX, "optional<V>", "optional<list<V>>", "int")
    declare(op.INDEX, "optional<V>", "optional<map<K, V>>", "K")
    declare(op.OPT_INDEX, "optional<V>", "list<V>", "int")
    declare(op.OPT_INDEX, "optional<V>", "optional<list<V>>", "int")
    declare(op.OPT_INDEX, "optional<V>", "map<K, V>", "K")
    declare(op.OPT_INDEX, "optional<V>", "optional<map<K, V>>", "K")
    declare(op.IN, "bool", "A", "list<A>")
    declare(op.IN, "bool", "A", "map<A, B>")


_declare_operators()


@LIBRARY.function(
    "size(bytes) -> int",
    "bytes.size() -> int",
    "size(list<A>) -> int",
    "list<A>.size() -> int",
    "size(map<A, B>) -> int",
    "map<A, B>.size() -> int",
    "size(string) -> int",
    "string.size() -> int",
)
def size(value: Any) -> int:
    return len(value)


@LIBRARY.function("string.contains(string) -> bool")
def contains(text: str, part: str) -> bool:
    return part in text


@LIBRARY.function("string.endsWith(string) -> bool")
def ends_with(text: str, end: str) -> bool:
    return text.endswith(end)


@LIBRARY.function("string.startsWith(string) -> bool")
def starts_with(text: str, start: str) -> bool:
    return text.startswith(start)


@LIBRARY.function("matches(string, string) -> bool", "string.matches(string) -> bool")
def matches(text: str, pattern: str) -> bool:
    return compile_pattern(pattern).search(text) is not None


@LIBRARY.function("cel.@mapInsert(map<K, V>, K, V) -> map<K, V>")
def insert(into: dict[Any, Any], key: Any, value: Any) -> dict[Any, Any]:
    if find_key(into, key).present:
        raise CELEvaluationError(f"insert failed: key {key} already exists")
    grown = into if type(into) is MutableMap else dict(into)
    grown[map_key(key)] = value
    return grown


@LIBRARY.function("cel.@mapInsert(map<K, V>, map<K, V>) -> map<K, V>")
def insert_all(into: dict[Any, Any], entries: dict[Any, Any]) -> dict[Any, Any]:
    for key, value in entries.items():
        into = insert(into, key_value(key), value)
    return into
