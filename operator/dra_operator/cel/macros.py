"""Macros: calls that the parser replaces by comprehensions.

A macro is chosen by name, number of arguments and whether it has a target, so `all` with two arguments is a macro and
with one is an ordinary (unknown) method. Each builds the same fold as cel-go does, because order of evaluation, how
errors are absorbed and what an evaluation costs all follow from it.

Upstream: `parser/macro.go`, `ext/comprehensions.go`, `ext/bindings.go`, `ext/lists.go` and `cel/library.go` in cel-go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from dra_operator.cel import operators as op
from dra_operator.cel.ast import (
    ACCUMULATOR,
    UNUSED,
    Call,
    Comprehension,
    Ident,
    ListLiteral,
    Literal,
    LiteralValue,
    MapLiteral,
    Node,
    Select,
)


class MacroError(Exception):
    """The arguments do not suit the macro."""

    def __init__(self, offset: int, message: str) -> None:
        self.offset = offset
        self.message = message
        super().__init__(message)


class Ids(Protocol):
    def __call__(self) -> int:
        """A node id that was not used before."""
        ...


class Builder:
    """Makes the nodes of one macro call; all of them point to where the call is."""

    def __init__(self, next_id: Ids, offset: int) -> None:
        self._next_id = next_id
        self.offset = offset

    def literal(self, value: LiteralValue) -> Literal:
        return Literal(self._next_id(), self.offset, value)

    def ident(self, name: str) -> Ident:
        return Ident(self._next_id(), self.offset, name)

    def accumulator(self) -> Ident:
        return self.ident(ACCUMULATOR)

    def call(self, function: str, *args: Node) -> Call:
        return Call(self._next_id(), self.offset, function, args)

    def method(self, target: Node, function: str, *args: Node) -> Call:
        return Call(self._next_id(), self.offset, function, args, target)

    def list(self, *elements: Node) -> ListLiteral:
        return ListLiteral(self._next_id(), self.offset, elements, frozenset())

    def empty_map(self) -> MapLiteral:
        return MapLiteral(self._next_id(), self.offset, ())

    def presence(self, select: Select) -> Select:
        return Select(self._next_id(), self.offset, select.operand, select.field, test_only=True)

    def fold(
        self,
        over: Node,
        variables: tuple[str, ...],
        init: Node,
        step: Node,
        condition: Node | None = None,
        result: Node | None = None,
    ) -> Comprehension:
        return Comprehension(
            self._next_id(),
            self.offset,
            over,
            variables[0],
            variables[1] if len(variables) == 2 else None,
            ACCUMULATOR,
            init,
            condition or self.literal(True),
            step,
            result or self.accumulator(),
        )

    def bind(self, name: str, value: Node, body: Node) -> Comprehension:
        """`body` with `name` standing for `value`: a fold over nothing."""
        return Comprehension(
            self._next_id(),
            self.offset,
            self.list(),
            UNUSED,
            None,
            name,
            value,
            self.literal(False),
            self.ident(name),
            body,
        )


Expander = Callable[[Builder, Node, tuple[Node, ...]], Node]


def expand(next_id: Ids, offset: int, function: str, target: Node | None, args: tuple[Node, ...]) -> Node | None:
    """What the call stands for, or None if it is not a macro. Raises MacroError."""
    if target is None:
        if function == "has" and len(args) == 1:
            return _has(Builder(next_id, offset), args[0])
        return None
    if function == "bind" and len(args) == 3:
        if isinstance(target, Ident) and target.name == "cel":
            name = _name(args[0], "cel.bind() variable names must be simple identifiers")
            return Builder(next_id, offset).bind(name, args[1], args[2])
        return None
    expander = _METHODS.get((function, len(args)))
    return None if expander is None else expander(Builder(next_id, offset), target, args)


def _has(build: Builder, arg: Node) -> Node:
    if isinstance(arg, Select):
        return build.presence(arg)
    raise MacroError(arg.offset, "invalid argument to has() macro")


def _name(arg: Node, message: str) -> str:
    if isinstance(arg, Ident):
        return arg.name
    raise MacroError(arg.offset, message)


def _variables(args: tuple[Node, ...], message: str) -> tuple[str, ...]:
    names = tuple(_name(arg, message) for arg in args)
    for arg, name in zip(args, names, strict=True):
        if name in (ACCUMULATOR, "__result__"):
            raise MacroError(arg.offset, "iteration variable overwrites accumulator variable")
    if len(names) == 2 and names[0] == names[1]:
        raise MacroError(args[1].offset, f"duplicate variable name: {names[0]}")
    return names


_NOT_A_NAME: Final = "argument must be a simple name"


def _all(build: Builder, target: Node, args: tuple[Node, ...]) -> Node:
    return build.fold(
        target,
        _variables(args[:-1], _NOT_A_NAME),
        init=build.literal(True),
        condition=build.call(op.NOT_STRICTLY_FALSE, build.accumulator()),
        step=build.call(op.LOGICAL_AND, build.accumulator(), args[-1]),
    )


def _exists(build: Builder, target: Node, args: tuple[Node, ...]) -> Node:
    return build.fold(
        target,
        _variables(args[:-1], _NOT_A_NAME),
        init=build.literal(False),
        condition=build.call(op.NOT_STRICTLY_FALSE, build.call(op.LOGICAL_NOT, build.accumulator())),
        step=build.call(op.LOGICAL_OR, build.accumulator(), args[-1]),
    )


def _exists_one(build: Builder, target: Node, args: tuple[Node, ...]) -> Node:
    one_more = build.call(op.ADD, build.accumulator(), build.literal(1))
    return build.fold(
        target,
        _variables(args[:-1], _NOT_A_NAME),
        init=build.literal(0),
        step=build.call(op.CONDITIONAL, args[-1], one_more, build.accumulator()),
        result=build.call(op.EQUALS, build.accumulator(), build.literal(1)),
    )


def _map(build: Builder, target: Node, args: tuple[Node, ...]) -> Node:
    names = _variables(args[:1], "argument is not an identifier")
    return _collect(build, target, names, args[1:])


def _transform_list(build: Builder, target: Node, args: tuple[Node, ...]) -> Node:
    return _collect(build, target, _variables(args[:2], _NOT_A_NAME), args[2:])


def _collect(build: Builder, target: Node, names: tuple[str, ...], rest: tuple[Node, ...]) -> Node:
    """A list of the last argument's values; an argument before it is a filter."""
    step = build.call(op.ADD, build.accumulator(), build.list(rest[-1]))
    return build.fold(target, names, init=build.list(), step=_filtered(build, step, rest))


def _filtered(build: Builder, step: Node, rest: tuple[Node, ...]) -> Node:
    if len(rest) == 1:
        return step
    return build.call(op.CONDITIONAL, rest[0], step, build.accumulator())


def _filter(build: Builder, target: Node, args: tuple[Node, ...]) -> Node:
    names = _variables(args[:1], "argument is not an identifier")
    return _collect(build, target, names, (args[1], args[0]))


def _transform_map(build: Builder, target: Node, args: tuple[Node, ...]) -> Node:
    names = _variables(args[:2], _NOT_A_NAME)
    step = build.call(op.MAP_INSERT, build.accumulator(), build.ident(names[0]), args[-1])
    return build.fold(target, names, init=build.empty_map(), step=_filtered(build, step, args[2:]))


def _transform_map_entry(build: Builder, target: Node, args: tuple[Node, ...]) -> Node:
    names = _variables(args[:2], _NOT_A_NAME)
    step = build.call(op.MAP_INSERT, build.accumulator(), args[-1])
    return build.fold(target, names, init=build.empty_map(), step=_filtered(build, step, args[2:]))


def _opt_map(build: Builder, target: Node, args: tuple[Node, ...]) -> Node:
    name = _name(args[0], "optMap() variable name must be a simple identifier")
    body = build.bind(name, build.method(target, "value"), args[1])
    return _if_present(build, target, build.method(build.ident("optional"), "of", body))


def _opt_flat_map(build: Builder, target: Node, args: tuple[Node, ...]) -> Node:
    name = _name(args[0], "optFlatMap() variable name must be a simple identifier")
    return _if_present(build, target, build.bind(name, build.method(target, "value"), args[1]))


def _if_present(build: Builder, target: Node, then: Node) -> Node:
    none = build.method(build.ident("optional"), "none")
    return build.call(op.CONDITIONAL, build.method(target, "hasValue"), then, none)


def _sort_by(build: Builder, target: Node, args: tuple[Node, ...]) -> Node:
    if not isinstance(target, ListLiteral | Select | Ident | Comprehension | Call):
        message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression"
        raise MacroError(target.offset, message)
    name = "@__sortBy_input__"
    keys = _map(build, build.ident(name), args)
    return build.bind(name, target, build.method(build.ident(name), op.SORT_BY_KEYS, keys))


_METHODS: Final[dict[tuple[str, int], Expander]] = {
    ("all", 2): _all,
    ("all", 3): _all,
    ("exists", 2): _exists,
    ("exists", 3): _exists,
    ("exists_one", 2): _exists_one,
    ("exists_one", 3): _exists_one,
    ("existsOne", 3): _exists_one,  # with two arguments the API server does not know it
    ("map", 2): _map,
    ("map", 3): _map,
    ("filter", 2): _filter,
    ("transformList", 3): _transform_list,
    ("transformList", 4): _transform_list,
    ("transformMap", 3): _transform_map,
    ("transformMap", 4): _transform_map,
    ("transformMapEntry", 3): _transform_map_entry,
    ("transformMapEntry", 4): _transform_map_entry,
    ("optMap", 2): _opt_map,
    ("optFlatMap", 2): _opt_flat_map,
    ("sortBy", 2): _sort_by,
}

MACROS: Final = frozenset({name for name, _ in _METHODS} | {"has", "cel.bind"})
"""The names of all macros."""
