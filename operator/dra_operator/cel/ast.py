"""The syntax tree: what is left of an expression after parsing and expanding macros.

Eight kinds of node, all frozen. Macros are gone: `all`, `exists`, `map`, `cel.bind` and their kin are `Comprehension`s,
`has` is a `Select` that only tests. Operators are `Call`s with the names of `operators.py`.

`offset` is the character in the source that cel-go points to in messages (for a call its opening parenthesis, for an
operator the operator itself). `id` tells nodes apart that are otherwise equal; the checker hangs its findings on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# Accumulators and other names that users cannot write.
ACCUMULATOR: Final = "@result"
UNUSED: Final = "#unused"

LiteralValue = None | bool | int | float | str | bytes


@dataclass(frozen=True, slots=True)
class Node:
    id: int
    offset: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    value: LiteralValue


@dataclass(frozen=True, slots=True)
class Ident(Node):
    """A variable or a type. A leading dot means the outermost scope."""

    name: str


@dataclass(frozen=True, slots=True)
class Select(Node):
    """`operand.field`, or `has(operand.field)` when `test_only`."""

    operand: Node
    field: str
    test_only: bool = False


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function, a method (with `target`) or an operator."""

    function: str
    args: tuple[Node, ...]
    target: Node | None = None


@dataclass(frozen=True, slots=True)
class ListLiteral(Node):
    elements: tuple[Node, ...]
    optional: frozenset[int]  # positions written as `?element`


@dataclass(frozen=True, slots=True)
class MapEntry(Node):
    key: Node
    value: Node
    optional: bool


@dataclass(frozen=True, slots=True)
class MapLiteral(Node):
    entries: tuple[MapEntry, ...]


@dataclass(frozen=True, slots=True)
class MessageField(Node):
    name: str
    value: Node
    optional: bool


@dataclass(frozen=True, slots=True)
class MessageLiteral(Node):
    """`Type{field: value}`."""

    type_name: str
    fields: tuple[MessageField, ...]


@dataclass(frozen=True, slots=True)
class Comprehension(Node):
    """A fold: start with `init`, while `condition` holds replace the accumulator by `step`, finish with `result`."""

    range: Node
    variable: str
    second_variable: str | None
    accumulator: str
    init: Node
    condition: Node
    step: Node
    result: Node


def is_binding(fold: Comprehension) -> bool:
    """Whether it goes over nothing and only names a value, like `cel.bind`."""
    return (
        isinstance(fold.range, ListLiteral)
        and not fold.range.elements
        and isinstance(fold.condition, Literal)
        and fold.condition.value is False
    )


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below, in the order of the text."""
    match node:
        case Select():
            return (node.operand,)
        case Call():
            return node.args if node.target is None else (node.target, *node.args)
        case ListLiteral():
            return node.elements
        case MapLiteral():
            return tuple(part for entry in node.entries for part in (entry.key, entry.value))
        case MessageLiteral():
            return tuple(part.value for part in node.fields)
        case Comprehension():
            return (node.range, node.init, node.condition, node.step, node.result)
        case _:
            return ()


def all_nodes(root: Node) -> Iterator[Node]:
    """Every node once. Macros use some nodes twice, so a tree may have very many more paths than nodes."""
    seen: set[int] = set()
    ahead = [root]
    while ahead:
        node = ahead.pop()
        if node.id not in seen:
            seen.add(node.id)
            yield node
            ahead.extend(children(node))


def qualified_name(node: Node) -> str | None:
    """`a.b.c` if the node is nothing but names joined by dots."""
    parts: list[str] = []
    while isinstance(node, Select):
        if node.test_only:
            return None
        parts.append(node.field)
        node = node.operand
    if not isinstance(node, Ident):
        return None
    parts.append(node.name)
    return ".".join(reversed(parts))
