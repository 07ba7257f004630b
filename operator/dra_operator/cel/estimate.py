"""What an expression can cost at most, for any device that the API allows: the number that the API server checks.

A walk over the checked tree that adds up the worst of every step. Sizes come from the text (a literal is as long as it
is), from the limits of the API (an attribute has at most 64 characters or members, a device at most 32 attributes), or
are unknown, which makes whatever depends on them as expensive as can be. A selector above `COST_LIMIT` is refused when
it is written; one that is stored already is evaluated with counting.

Its peculiarities are upstream's, since every one of them shows in which selectors are accepted: `device` itself has
size zero, `dyn(x)` keeps the size of `x`, most functions of strings forget it.

Upstream: `checker/cost.go` in cel-go. What calls cost is in `estimate_calls.py`, the limits of the API in `sizes.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dra_operator.cel import budget
from dra_operator.cel import operators as op
from dra_operator.cel import types as t
from dra_operator.cel.ast import (
    Call,
    Comprehension,
    Ident,
    ListLiteral,
    Literal,
    MapLiteral,
    MessageLiteral,
    Node,
    Select,
    is_binding,
)
from dra_operator.cel.check import Checked
from dra_operator.cel.estimate_calls import call_estimate
from dra_operator.cel.functions import Overload
from dra_operator.cel.nesting import room_to_recurse
from dra_operator.cel.sizes import (
    INDICES,
    ITEMS,
    KEYS,
    ONE,
    UNKNOWN,
    VALUES,
    Entry,
    Path,
    Size,
    plus,
    size_below_device,
    times,
)
from dra_operator.cel.types import K, Type


@dataclass(frozen=True, slots=True)
class _Variable:
    path: Path
    size: Size | None
    entry: Entry | None


def estimate(checked: Checked) -> int:
    """The worst case of an expression, at most UNLIMITED."""
    with room_to_recurse():
        return Estimator(checked).cost(checked.root)


class Estimator:
    """One walk. A node that a macro uses twice is looked at once."""

    def __init__(self, checked: Checked) -> None:
        self._types = checked.types
        self._calls = checked.calls
        self._names = checked.names
        self._costs: dict[int, int] = {}
        self._paths: dict[int, Path] = {}
        self._sizes: dict[int, Size] = {}
        self._entries: dict[int, Entry] = {}
        self._scopes: dict[str, list[_Variable]] = {}

    def cost(self, node: Node) -> int:
        known = self._costs.get(node.id)
        if known is None:
            known = self._costs[node.id] = self._cost(node)
        return known

    def _cost(self, node: Node) -> int:
        match node:
            case Ident():
                name = node.name.removeprefix(".")
                variable = self._variable(name)
                self._paths[node.id] = Path(name) if variable is None else variable.path
                return budget.NAME
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListLiteral():
                return self._list(node)
            case MapLiteral():
                return self._map(node)
            case MessageLiteral():
                return plus(budget.MESSAGE, *(self.cost(part.value) for part in node.fields))
            case Comprehension():
                return self._bind(node) if is_binding(node) else self._fold(node)
            case _:
                return 0

    # -- what is known of a node

    def type_of(self, node: Node) -> Type:
        return self._types[node.id]

    def path(self, node: Node) -> Path:
        if isinstance(node, Ident):
            variable = self._variable(node.name)
            if variable is not None:
                return variable.path
        return self._paths.get(node.id) or Path()

    def size(self, node: Node) -> Size | None:
        """The size of a value, as far as it can be told."""
        known = self._sizes.get(node.id) or _size_of_literal(node)
        if known is not None:
            return known
        limit = size_below_device(self.path(node).steps)
        if limit is not None:
            self._sizes[node.id] = limit
            return limit
        if _is_scalar(self.type_of(node)):
            return ONE
        if isinstance(node, Ident):
            variable = self._variable(node.name)
            return None if variable is None else variable.size
        return None

    def size_or_unknown(self, node: Node) -> Size:
        return self.size(node) or UNKNOWN

    def element_size(self, node: Node) -> tuple[Type, Size] | None:
        """Type and size of the members of a list; None for what has no members."""
        of = self.type_of(node)
        if not of.params:
            return None
        limit = size_below_device((*self.path(node).steps, ITEMS))
        return of.params[0], limit or UNKNOWN

    def entry(self, node: Node) -> Entry | None:
        known = self._entries.get(node.id)
        if known is None and isinstance(node, Ident):
            variable = self._variable(node.name)
            return None if variable is None else variable.entry
        return known

    def set_entry(self, node: Node, entry: Entry | None) -> None:
        if entry is not None:
            self._entries[node.id] = entry

    def _set_size(self, node: Node, size: Size | None) -> None:
        if size is not None:
            self._sizes[node.id] = size

    def _variable(self, name: str) -> _Variable | None:
        held = self._scopes.get(name)
        return held[-1] if held else None

    # -- members

    def _select(self, node: Select) -> int:
        if node.id in self._names:  # the name of a type, like google.protobuf.Duration
            return budget.NAME
        cost = self.cost(node.operand)
        if node.test_only:
            return cost
        self._paths[node.id] = self.path(node.operand).then(node.field)
        has_fields = self.type_of(node.operand).kind in (K.MAP, K.STRUCT, K.PARAMETER)
        return plus(cost, budget.SELECTION) if has_fields else cost

    # -- calls

    def _call(self, node: Call) -> int:
        arguments = plus(*(self._argument(arg) for arg in node.args))
        if node.function == "dyn":
            self._copy(node, node.args[0])
            return plus(1, arguments)
        resolution = self._calls.get(node.id)
        target = None
        if resolution is not None and resolution.is_method and node.target is not None:
            target = node.target
            arguments = plus(arguments, self.cost(target))
        if node.function == op.CONDITIONAL:
            return self._conditional(node)
        if node.function in (op.LOGICAL_AND, op.LOGICAL_OR):
            self._set_size(node, self.size(node))
            return arguments
        worst = 0
        result: Size | None = None
        for overload in () if resolution is None else resolution.overloads:
            cost, size = call_estimate(self, node, overload, target)
            worst = max(worst, cost)
            if size is not None:
                result = size if result is None else result | size
            if node.function == op.INDEX:
                result = self._indexed(node, overload, result)
            if result is None:
                result = self.size(node)
        if node.function == op.OPT_SELECT:
            worst = 1
            result = self.size(node)
        self._set_size(node, result)
        return plus(arguments, worst)

    def _argument(self, node: Node) -> int:
        cost = self.cost(node)
        self.size(node)  # now: the next argument's path may be written over this one's
        return cost

    def _indexed(self, node: Call, overload: Overload, result: Size | None) -> Size | None:
        step = {K.LIST: ITEMS, K.MAP: VALUES}.get(overload.args[0].kind)
        if step is None:
            return result
        self._paths[node.id] = self.path(node.args[0]).then(step)
        entry = self.entry(node.args[0])
        return None if entry is None else entry.value

    def _conditional(self, node: Call) -> int:
        condition, then, otherwise = node.args
        self._set_size(node, self.size_or_unknown(then) | self.size_or_unknown(otherwise))
        one, other = self.entry(then), self.entry(otherwise)
        self.set_entry(node, None if one is None or other is None else one | other)
        return plus(self.cost(condition), max(self.cost(then), self.cost(otherwise)))

    def _copy(self, node: Node, source: Node) -> None:
        self._set_size(node, self.size(source))
        self.set_entry(node, self.entry(source))

    # -- aggregates

    def _list(self, node: ListLiteral) -> int:
        costs = [self.cost(element) for element in node.elements]
        self._entries[node.id] = Entry(True, ONE, _union(self.size_or_unknown(part) for part in node.elements))
        return plus(budget.LIST, *costs)

    def _map(self, node: MapLiteral) -> int:
        costs = [plus(self.cost(entry.key), self.cost(entry.value)) for entry in node.entries]
        keys = _union(self.size_or_unknown(entry.key) for entry in node.entries)
        values = _union(self.size_or_unknown(entry.value) for entry in node.entries)
        self._entries[node.id] = Entry(False, keys, values)
        return plus(budget.MAP, *costs)

    # -- comprehensions

    def _bind(self, node: Comprehension) -> int:
        cost = plus(self.cost(node.range), self.cost(node.init))
        self._push(node.accumulator, self._variable_of(node.init))
        cost = plus(cost, self.cost(node.result))
        self._scopes[node.accumulator].pop()
        self._copy(node, node.result)
        return cost

    def _variable_of(self, node: Node) -> _Variable:
        return _Variable(self.path(node), self.size(node), self.entry(node))

    def _push(self, name: str, variable: _Variable) -> None:
        self._scopes.setdefault(name, []).append(variable)

    def _fold(self, node: Comprehension) -> int:
        cost = plus(self.cost(node.range), self.cost(node.init))
        self._push(node.accumulator, self._variable_of(node.init))
        variables = self._iteration(node)
        for name, variable in variables.items():
            self._push(name, variable)
        rounds = plus(self.cost(node.condition), self.cost(node.step))
        for name in variables:
            self._scopes[name].pop()
        cost = plus(cost, self.cost(node.result))
        self._scopes[node.accumulator].pop()
        size = self.size_or_unknown(node.range)
        if isinstance(node.init, Literal):
            self._set_size(node, self.size(node.init))
        elif isinstance(node.init, ListLiteral | MapLiteral):
            self._set_size(node, size)
            self.set_entry(node, self.entry(node.step))
        return plus(cost, times(size.most, rounds))

    def _iteration(self, node: Comprehension) -> dict[str, _Variable]:
        entry = self.entry(node.range)
        path = self.path(node.range)
        is_list = self.type_of(node.range).kind is K.LIST if entry is None else entry.is_list
        of_key, of_value = (None, None) if entry is None else (entry.key, entry.value)
        key = _Variable(path.then(INDICES if is_list else KEYS), of_key, None)
        if node.second_variable is None and not is_list:
            return {node.variable: key}
        value = _Variable(path.then(ITEMS if is_list else VALUES), of_value, None)
        return (
            {node.variable: value}
            if node.second_variable is None
            else {node.variable: key, node.second_variable: value}
        )


def _size_of_literal(node: Node) -> Size | None:
    match node:
        case Literal(value=str() | bytes() as value):
            return Size(len(value), len(value))
        case Literal():
            return ONE
        case ListLiteral(elements=elements):
            return Size(len(elements), len(elements))
        case MapLiteral(entries=entries):
            return Size(len(entries), len(entries))
        case _:
            return None


def _union(sizes: Iterable[Size]) -> Size:
    found: Size | None = None
    for size in sizes:
        found = size if found is None else found | size
    return found or Size(0, 0)


def _is_scalar(of: Type) -> bool:
    if of in (t.BOOL, t.DOUBLE, t.DURATION, t.INT, t.TIMESTAMP, t.UINT):
        return True
    inner, was_optional = t.unwrap_optional(of)
    return was_optional and _is_scalar(inner)
