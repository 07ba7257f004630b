"""What an evaluation may cost, and what each step costs.

The unit is cel-go's: about one a name, selection or call, a tenth a character of text that is looked at, ten a list,
thirty a map that is built, forty a message. An evaluation that spends more than its limit ends with `CELCostError`, so
that a hostile selector over long lists cannot hold up the allocator. A call is paid for before it is made. What
upstream sells too cheaply, growing a list or a text by leaps, is bounded by size instead (`values.check_size`).

Upstream: `interpreter/runtimecost.go` in cel-go, `pkg/cel/library/cost.go` in k8s.io/apiserver. Not here: the static
estimate that the API server checks at admission (`estimate.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dra_operator.api.quantity import Quantity
from dra_operator.api.semver import Version
from dra_operator.cel import operators as op
from dra_operator.cel.errors import CELCostError
from dra_operator.cel.values import Opaque, Optional, Value

COST_LIMIT: Final = 1_000_000
_CONSTANT_SIZE: Final = (Quantity, Version, Opaque)
NAME: Final = 1
SELECTION: Final = 1
LIST: Final = 10
MAP: Final = 30
MESSAGE: Final = 40

Values = tuple[Value, ...]


class Budget:
    """What is left of the limit."""

    __slots__ = ("limit", "spent")

    def __init__(self, limit: int = COST_LIMIT) -> None:
        self.limit = limit
        self.spent = 0

    def spend(self, cost: int) -> None:
        self.spent += cost
        if self.spent > self.limit:
            raise CELCostError("operation cancelled: actual cost limit exceeded")


def call_cost(function: str, args: Values, *, certain: bool = True) -> int:
    """What a call costs, by its arguments."""
    rule = rule_for(function, certain=certain)
    return 1 if rule is None else rule(args)


def rule_for(function: str, *, certain: bool) -> Callable[[Values], int] | None:
    """How the cost follows from the arguments, or None: it is one. Some rules need a `certain` overload."""
    return _RULES.get(function) if certain or function not in _BY_OVERLOAD else None


def has_result_cost(function: str) -> bool:
    return function in _BUILDS_LIST or function == "join"


def result_cost(function: str, result: Value) -> int:
    """What a call costs on top, by its result."""
    if function in _BUILDS_LIST:
        return size(result)
    return tenth(size(result), 2) if function == "join" else 0


def size(value: Value) -> int:
    """How much there is to traverse."""
    if isinstance(value, str | bytes | list | tuple | dict):
        return len(value)
    if isinstance(value, Optional) and value.present:
        return size(value.get())
    return 1


def tenth(amount: int, times: int = 1) -> int:
    """The cost of looking at so many characters, so many times."""
    return -(-amount * times // 10)


def _pattern(text: Value, pattern: Value) -> int:
    return tenth(1 + size(text)) * -(-size(pattern) // 4)


def _shorter(args: Values) -> int:
    left, right = args
    return 1 if isinstance(left, _CONSTANT_SIZE) else tenth(min(size(left), size(right)))


def _sum(args: Values) -> int:
    return tenth(size(args[0]) + size(args[1])) if isinstance(args[0], str | bytes) else 1


def _first(times: int) -> Callable[[Values], int]:
    return lambda args: tenth(size(args[0]), times)


def _traversal(args: Values) -> int:
    return _whole_size(args[0])


def _whole_size(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode()) // 10  # this rule of upstream's counts bytes
    if isinstance(value, bytes):
        return len(value) // 10
    if isinstance(value, list | tuple):
        return sum(map(_whole_size, value))
    if isinstance(value, dict):
        return sum(_whole_size(key) + _whole_size(item) for key, item in value.items())
    return 1


def _conversion(args: Values) -> int:
    return tenth(size(args[0])) if isinstance(args[0], str | bytes) else 1


def _contains_ip(args: Values) -> int:
    cidr, other = args
    return tenth(2 * _octets(cidr)) + (tenth(size(other)) if isinstance(other, str) else 0)


def _contains_cidr(args: Values) -> int:
    cidr, other = args
    octets = _octets(cidr)
    return tenth(2 * octets) + tenth(octets) + 1 + (tenth(size(other)) if isinstance(other, str) else 0)


def _octets(cidr: Value) -> int:
    return -(-int(cidr.length) // 8)


def _new_list(_: Values) -> int:
    return 1 + LIST


def _flatten(args: Values) -> int:
    return 1 + LIST + size(args[0]) * (max(args[1], 0) if len(args) == 2 else 1)


def _pairs(position: int) -> Callable[[Values], int]:
    def cost(args: Values) -> int:
        items = args[position]
        pairs = len(items) * len(items)
        textual = bool(items) and isinstance(items[0], str | bytes)
        return 1 + LIST + (pairs * 21 // 10 if textual else pairs * 2)

    return cost


def _sets(times: int) -> Callable[[Values], int]:
    return lambda args: 1 + size(args[0]) * size(args[1]) * times


_RULES: Final[dict[str, Callable[[Values], int]]] = {
    op.EQUALS: _shorter,
    op.NOT_EQUALS: _shorter,
    op.LESS: _shorter,
    op.LESS_EQUALS: _shorter,
    op.GREATER: _shorter,
    op.GREATER_EQUALS: _shorter,
    op.ADD: _sum,
    op.IN: lambda args: size(args[1]) if isinstance(args[1], list | tuple) else 1,
    "startsWith": lambda args: tenth(size(args[1])),
    "endsWith": lambda args: tenth(size(args[1])),
    "contains": lambda args: tenth(size(args[0])) * tenth(size(args[1])),
    "matches": lambda args: _pattern(args[0], args[1]),
    "find": lambda args: _pattern(args[0], args[1]),
    "findAll": lambda args: _pattern(args[0], args[1]),
    "validate": lambda args: tenth(1 + size(args[1])) * -(-args[0].pattern_size // 4),
    "bytes": _conversion,
    "string": lambda args: tenth(size(args[0])) if isinstance(args[0], bytes) else 1,
    "strings.quote": _first(1),
    "format": _first(1),
    "isSorted": _traversal,
    "sum": _traversal,
    "max": _traversal,
    "min": _traversal,
    "indexOf": _traversal,
    "lastIndexOf": _traversal,
    "includes": _traversal,
    "url": _first(1),
    "lowerAscii": _first(1),
    "upperAscii": _first(1),
    "substring": _first(1),
    "trim": _first(1),
    "replace": _first(2),
    "split": _first(2),
    "join": lambda _: 0,
    "cidr": _conversion,
    "containsIP": _contains_ip,
    "containsCIDR": _contains_cidr,
    "ip": _conversion,
    "isIP": _first(1),
    "isCIDR": _first(1),
    "ip.isCanonical": _first(2),
    "quantity": _first(1),
    "isQuantity": _first(1),
    "semver": _first(1),
    "isSemver": _first(1),
    "slice": _new_list,
    "lists.range": _new_list,
    "reverse": _new_list,
    "flatten": _flatten,
    "distinct": _pairs(0),
    "sort": _pairs(0),
    op.SORT_BY_KEYS: _pairs(1),
    "sets.contains": _sets(1),
    "sets.intersects": _sets(1),
    "sets.equivalent": _sets(2),
}

_BY_OVERLOAD: Final = frozenset(
    (op.LESS, op.LESS_EQUALS, op.GREATER, op.GREATER_EQUALS, op.ADD, op.IN, "bytes", "string", "sort", op.SORT_BY_KEYS)
)
_BUILDS_LIST: Final = frozenset(("slice", "lists.range", "reverse"))
