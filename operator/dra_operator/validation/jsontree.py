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

MAX_BYTES: Final = 3 * 1024 * 1024
"""What the API server takes in one request."""
_TOO_DEEP: Final = "exceeded max depth"
_TOO_LARGE: Final = f"Request entity too large: limit is {MAX_BYTES}"
_BITS_MAX: Final = 10_000


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
        if len(text) > MAX_BYTES:
            raise NotJSON(_TOO_LARGE)
        content = text.decode() if isinstance(text, bytes) else text
        found = json.loads(
            content,
            object_pairs_hook=lambda pairs: Members(tuple((_text(name), _frozen(value)) for name, value in pairs)),
            parse_int=Number,
            parse_float=Number,
            parse_constant=_refuse_constant,
        )
    except RecursionError:
        raise NotJSON(_TOO_DEEP) from None
    except NotJSON:
        raise
    except ValueError as error:
        raise NotJSON(str(error)) from error
    tree: Tree = _frozen(found)
    _refuse_depth(tree)
    return tree


def from_plain(value: object) -> Tree:
    """The tree of dicts, lists and scalars. Raises NotJSON."""
    return _Planter().plant(value, MAX_DEPTH)


class _Planter:
    """Counts what it makes: aliases of YAML let a few lines stand for billions of values."""

    def __init__(self) -> None:
        self._room = MAX_BYTES

    def plant(self, value: object, depth: int) -> Tree:
        self._room -= 1 + (len(value) if isinstance(value, str) else 0)
        if self._room < 0:
            raise NotJSON(_TOO_LARGE)
        if depth == 0:
            raise NotJSON(_TOO_DEEP)
        match value:
            case Mapping():
                pairs = ((_name(name), self.plant(each, depth - 1)) for name, each in value.items())
                return Members(tuple(pairs))
            case str():
                return _text(value)
            case Sequence() if not isinstance(value, bytes | bytearray):
                return tuple(self.plant(each, depth - 1) for each in value)
        return _scalar(value)


def _scalar(value: object) -> Tree:
    match value:
        case None | bool():
            return value
        case int():
            if value.bit_length() > _BITS_MAX:
                raise NotJSON("a number has too many digits")
            return Number(value)
        case float() if value == value and abs(value) != float("inf"):
            return Number(int(value) if value.is_integer() and abs(value) < 1e21 else value)
        case date():  # YAML reads some texts as dates
            return value.isoformat().replace("+00:00", "Z")
    raise NotJSON(f"{value if isinstance(value, float) else type(value).__name__} is nothing that JSON can say")


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
    raise NotJSON(_TOO_DEEP)


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
