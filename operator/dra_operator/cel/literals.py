"""What the API server finds wrong with constants when it compiles, and the constants that it computes then.

Conversions of constants are evaluated at once, so `int("x")` is a compile error wherever it stands. Durations,
timestamps, patterns and format strings that are literals must be valid. List and map literals must be of one type, also
where `dyn` would hide it.

`x in [constants]` becomes a set lookup there. It shows: with an empty list `x` is never evaluated, and some values of
`x` cannot be looked up (`Constants.memberships`). A constant pattern is compiled there, by code that takes the text out
of an optional, and the name for a type (`Constants.patterns`).

Upstream: `cel/validator.go`, `interpreter/decorators.go` and `ext/formatting.go` in cel-go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from dra_operator.cel import operators as op
from dra_operator.cel import types as t
from dra_operator.cel.ast import Call, Ident, ListLiteral, Literal, MapLiteral, Node, Select, children
from dra_operator.cel.check import Checked
from dra_operator.cel.environment import Environment
from dra_operator.cel.errors import CELCompileError, CELEvaluationError, CELRuntimeError, Issue, Issues
from dra_operator.cel.library.conversions import CONVERSIONS
from dra_operator.cel.library.formatting import ACCEPTED, Clause, clauses
from dra_operator.cel.library.regex import compile_pattern
from dra_operator.cel.types import K, Type
from dra_operator.cel.values import Value, check_index, map_key, no_such_overload

_VALIDATORS: Final = {"duration": 0, "timestamp": 1, "matches": 2}
"""Upstream goes through the expression once for each of these, and then for all the rest: first come is first told."""
_PATTERN_METHODS: Final = ("matches", "find", "findAll")


@dataclass(frozen=True, slots=True)
class Constants:
    """Values of nodes that are constant, and lists that are only looked into, by node id."""

    values: dict[int, Value]
    memberships: frozenset[int]
    patterns: frozenset[int]  # calls whose pattern is constant: they look into an optional for the text


def validate(source: str, checked: Checked) -> None:
    """Raises CELCompileError if a literal is not what its use asks for."""
    found = [
        (_VALIDATORS.get(node.function, len(_VALIDATORS)) if isinstance(node, Call) else len(_VALIDATORS), issue)
        for node, may_mix in _walk(checked.root)
        for issue in _issues(checked, node, may_mix=may_mix)
    ]
    issues = Issues()
    for _, issue in sorted(found, key=lambda one: (one[0], one[1].offset)):
        issues.add(issue.offset, issue.message)
    issues.raise_if_any(source)


def _issues(checked: Checked, node: Node, *, may_mix: bool) -> Iterator[Issue]:
    match node:
        case Call():
            yield from _call_issues(checked, node)
        case ListLiteral() if not may_mix:
            yield from _list_issues(checked, node)
        case MapLiteral() if not may_mix:
            yield from _map_issues(checked, node)


def fold(source: str, checked: Checked, environment: Environment) -> Constants:
    """The constants of an expression. Raises CELCompileError if computing one fails."""
    return _Folder(source, checked, environment).constants()


def _walk(root: Node) -> Iterator[tuple[Node, bool]]:
    """All nodes, and whether a literal there may mix types: below `format`."""
    seen: set[tuple[int, bool]] = set()
    ahead = [(root, False)]
    while ahead:
        node, may_mix = ahead.pop()
        if (node.id, may_mix) in seen:
            continue
        seen.add((node.id, may_mix))
        yield node, may_mix
        may_mix = may_mix or (isinstance(node, Call) and node.function == "format")
        ahead.extend((child, may_mix) for child in children(node))


def _call_issues(checked: Checked, node: Call) -> Iterator[Issue]:
    first = node.args[0] if node.args else None
    if isinstance(first, Literal) and node.function in ("duration", "timestamp", "matches"):
        try:
            if node.function == "matches":
                compile_pattern(str(first.value))
            else:
                checked.calls[node.id].overloads[0].call(first.value)  # type: ignore[misc]
        except CELEvaluationError:
            yield Issue(first.offset, f"invalid {node.function} argument")
    if node.function == "format" and isinstance(node.target, Literal) and isinstance(first, ListLiteral):
        yield from _format_issues(checked, node, str(node.target.value), first)


def _format_issues(checked: Checked, node: Call, pattern: str, args: ListLiteral) -> Iterator[Issue]:
    used = 0
    try:
        for piece in clauses(pattern):
            if isinstance(piece, Clause):
                if used >= len(args.elements):
                    yield Issue(node.offset, f"index {used} out of range")
                    return
                wrong = next(_not_taken(checked, args.elements[used], piece.verb), None)
                if wrong is not None:
                    message = f"error during formatting: %{piece.verb} does not take {checked.types[wrong.id]}"
                    yield Issue(wrong.offset, message)
                    return
                used += 1
    except CELEvaluationError as error:
        yield Issue(node.offset, str(error))
        return
    if used < len(args.elements):
        message = f"too many arguments supplied to string.format (expected {used}, got {len(args.elements)})"
        yield Issue(node.offset, message)


def _not_taken(checked: Checked, node: Node, verb: str) -> Iterator[Node]:
    """What the clause does not take: the argument, or what it lists. An optional element is no value."""
    found = checked.types[node.id]
    if found.kind is not K.DYN and found.name not in ACCEPTED[verb]:  # refuses `any`, as upstream
        yield node
    if verb == "s" and isinstance(node, ListLiteral | MapLiteral):
        for child in children(node):
            yield from _not_taken(checked, child, verb)


def _list_issues(checked: Checked, node: ListLiteral) -> Iterator[Issue]:
    first: Type | None = None
    for position, element in enumerate(node.elements):
        found = checked.types[element.id]
        if position in node.optional:
            found, was_optional = t.unwrap_optional(found)
            if not was_optional:
                yield _not_optional(element)
        if first is None:
            first = found
        elif first != found:
            yield Issue(element.offset, f"expected type '{first}' but found '{found}'")
            return


def _map_issues(checked: Checked, node: MapLiteral) -> Iterator[Issue]:
    first: tuple[Type, Type] | None = None
    for entry in node.entries:
        key, value = checked.types[entry.key.id], checked.types[entry.value.id]
        if entry.optional:
            value, was_optional = t.unwrap_optional(value)
            if not was_optional:
                yield _not_optional(entry.value)
        if first is None:
            first = key, value
            continue
        for expected, found, part in ((first[0], key, entry.key), (first[1], value, entry.value)):
            if expected != found:
                yield Issue(part.offset, f"expected type '{expected}' but found '{found}'")


def _not_optional(node: Node) -> Issue:
    # Upstream panics on a `dyn` here. It could not be initialized at run time either, unless it holds an optional.
    return Issue(node.offset, "cannot initialize optional entry from a value of unknown type")


class _Folder:
    def __init__(self, source: str, checked: Checked, environment: Environment) -> None:
        self._source = source
        self._checked = checked
        self._environment = environment
        self._values: dict[int, Value] = {}
        self._memberships: set[int] = set()
        self._patterns: set[int] = set()
        self._visited: set[int] = set()

    def constants(self) -> Constants:
        self._visit(self._checked.root)
        return Constants(self._values, frozenset(self._memberships), frozenset(self._patterns))

    def _visit(self, node: Node) -> None:
        if node.id in self._visited:
            return
        self._visited.add(node.id)
        for child in children(node):
            self._visit(child)
        match node:
            case Literal():
                self._values[node.id] = node.value
            case Ident() if node.id in self._checked.names and self._checked.types[node.id].kind is K.TYPE:
                self._named(node)
            case Select() if node.id in self._checked.names:  # only constants have names with dots
                self._named(node)
            case ListLiteral() if all(element.id in self._values for element in node.elements):
                self._values[node.id] = [self._values[element.id] for element in node.elements]
            case MapLiteral() if all(e.key.id in self._values and e.value.id in self._values for e in node.entries):
                self._map(node)
            case Call():
                self._call(node)

    def _named(self, node: Node) -> None:
        name = self._checked.names[node.id].removeprefix(".")
        if name not in self._environment.constants:  # a variable that holds a type
            self._fail(CELEvaluationError(f"reference to undefined type: {name}"))
        self._values[node.id] = self._environment.constants[name]

    def _map(self, node: MapLiteral) -> None:
        try:
            entries = {map_key(self._values[e.key.id]): self._values[e.value.id] for e in node.entries}
        except CELRuntimeError as error:
            self._fail(error)
        self._values[node.id] = entries

    def _call(self, node: Call) -> None:
        if node.function == op.IN:
            self._membership(node)
        elif node.function in CONVERSIONS and len(node.args) == 1 and node.args[0].id in self._values:
            self._convert(node, self._values[node.args[0].id])
        elif node.function in _PATTERN_METHODS:
            self._pattern(node)
        elif node.function in (op.INDEX, op.OPT_INDEX) and node.args[1].id in self._values:
            try:
                check_index(self._values[node.args[1].id])
            except CELEvaluationError as error:
                self._fail(error)

    def _convert(self, node: Call, value: Value) -> None:
        for overload in self._checked.calls[node.id].overloads:
            if overload.call is not None and overload.accepts((value,)):
                try:
                    self._values[node.id] = overload.call(value)
                except CELEvaluationError as error:
                    self._fail(error)
                return
        self._fail(no_such_overload(node.function, value))

    def _pattern(self, node: Call) -> None:
        args = node.args if node.target is None else (node.target, *node.args)
        if len(args) >= 2 and isinstance(pattern := self._values.get(args[1].id), str):
            try:
                compile_pattern(pattern)
            except CELEvaluationError as error:
                self._fail(error)
            self._patterns.add(node.id)

    def _membership(self, node: Call) -> None:
        items = self._values.get(node.args[1].id)
        # Upstream looks where the checker chose the overload: not where the container may be a map, as with `dyn([])`.
        if not isinstance(items, list) or len(self._checked.calls[node.id].overloads) != 1:
            return
        if not items:
            self._values[node.id] = False
        elif all(isinstance(item, bool | int | float | str) for item in items):
            self._memberships.add(node.id)

    def _fail(self, error: CELRuntimeError) -> NoReturn:
        issue = Issue(-1, str(error))
        raise CELCompileError(self._source, (issue,), prefix="program instantiation failed: ") from None
