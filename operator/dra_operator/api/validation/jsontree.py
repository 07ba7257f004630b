"""JSON text to a tree that has forgotten nothing: fields that stand twice, and how each number was spelled.

A strict decoder needs both; Python's dicts and numbers keep neither. Objects of Python's own (from YAML, say) become
the same tree. What is not JSON is a `NotJSON`; so is anything nested deeper than the API server reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, TypeAlias

MAX_DEPTH: Final = 400
"""The API server reads 10,000 levels, which no object of ours can use; Python's own reader ends at about 900."""


class NotJSON(ValueError):
    """The text is not JSON."""


class Number(str):
    """A number as it was spelled."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Members:
    """An object's fields in their order, also those that stand twice."""

    pairs: tuple[tuple[str, Tree], ...]


Tree: TypeAlias = Members | tuple[Any, ...] | Number | str | bool | None


def parse(text: bytes | str) -> Tree:
    """The tree of a JSON text. Raises NotJSON."""
    try:
        content = text.decode() if isinstance(text, bytes) else text
        found = json.loads(
            content,
            object_pairs_hook=lambda pairs: Members(tuple((_text(name), _frozen(value)) for name, value in pairs)),
            parse_int=Number,
            parse_float=Number,
            parse_constant=_refuse_constant,
        )
    except RecursionError:
        raise NotJSON("exceeded max depth") from None
    except ValueError as error:
        raise NotJSON(str(error)) from error
    tree: Tree = _frozen(found)
    _refuse_depth(tree)
    return tree


def from_plain(value: object) -> Tree:
    """The tree of dicts, lists and scalars. Raises NotJSON."""
    return _from_plain(value, MAX_DEPTH)


def _from_plain(value: object, room: int) -> Tree:
    if room == 0:
        raise NotJSON("exceeded max depth")
    match value:
        case None | bool():
            return value
        case str():
            return _text(value)
        case int():
            return Number(value)
        case float():
            if value != value or value in (float("inf"), float("-inf")):
                raise NotJSON(f"{value} is not a number of JSON")
            return Number(int(value) if value.is_integer() and abs(value) < 1e21 else value)
        case date():  # YAML reads some texts as dates
            text = value.isoformat()
            return text.replace("+00:00", "Z")
        case Mapping():
            return Members(tuple((_name(name), _from_plain(each, room - 1)) for name, each in value.items()))
        case Sequence():
            return tuple(_from_plain(each, room - 1) for each in value)
    raise NotJSON(f"{type(value).__name__} is not a type of JSON")


def to_json(tree: Tree) -> str:
    """JSON text again, as compact as it can be."""
    match tree:
        case Members():
            return (
                "{"
                + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{to_json(each)}" for name, each in tree.pairs)
                + "}"
            )
        case tuple():
            return "[" + ",".join(to_json(each) for each in tree) + "]"
        case Number():
            return str(tree)
    return json.dumps(tree, ensure_ascii=False)


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(each) for each in value)
    return _text(value) if type(value) is str else value


def _text(text: str) -> str:
    """JSON can spell half a character; the API server takes it for an unreadable one."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _refuse_depth(tree: Tree) -> None:
    level: list[Tree] = [tree]
    for _ in range(MAX_DEPTH):
        level = [each for node in level for each in _children(node)]
        if not level:
            return
    raise NotJSON("exceeded max depth")


def _children(tree: Tree) -> Sequence[Tree]:
    if isinstance(tree, Members):
        return [each for _, each in tree.pairs]
    return tree if isinstance(tree, tuple) else ()


def _name(name: object) -> str:
    """A YAML key need not be a string; the API server's YAML reader spells it as one."""
    if isinstance(name, bool):
        return "true" if name else "false"
    return _text(str(name))


def _refuse_constant(name: str) -> None:
    raise NotJSON(f"{name} is not a number of JSON")
