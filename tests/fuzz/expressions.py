"""Random selectors, mostly well typed, as trees, so that one on which two implementations differ can be made small."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from tests.fuzz.dice import Dice
from tests.fuzz.grammar import DOMAIN, SHAPES, TYPES

Json = Any

_HOLE: Final = re.compile(r"\{\{|\}\}|\{(\w+)(?::(\w+))?\}")
_MACROS: Final = frozenset(("each", "both", "bind", "bind1", "domain"))
_MISTYPED: Final = 0.04


@dataclass(frozen=True, slots=True)
class Tree:
    """An expression: literal text with other expressions between."""

    type: str
    parts: tuple[str | Tree, ...]

    def __str__(self) -> str:
        return "".join(f"({part})" if _is_open(part) else str(part) for part in self.parts)

    def trees(self) -> Iterator[Tree]:
        """All below this one."""
        for part in self.parts:
            if isinstance(part, Tree):
                yield part
                yield from part.trees()


def _is_open(part: str | Tree) -> bool:
    """Whether an expression has to be bracketed inside another one."""
    return isinstance(part, Tree) and len(part.parts) > 1 and (" " in str(part) or "-" in str(part)[:1])


def make_selector(dice: Dice) -> Tree:
    return _grow(dice, "bool", dice.randint(1, 4), ())


def _grow(dice: Dice, type_: str, depth: int, names: tuple[str, ...]) -> Tree:
    wanted = type_
    if type_ == "any" or (type_ != "bool" and dice.chance(_MISTYPED)):
        type_ = dice.pick(TYPES)
    if names and dice.chance(0.35):
        return Tree(wanted, (dice.pick(names),))
    shape = dice.pick(_leaves(type_) if depth <= 0 else SHAPES[type_])
    return Tree(wanted, tuple(_fill(dice, shape, depth - 1, names)))


@cache
def _leaves(type_: str) -> tuple[str, ...]:
    shapes = tuple(shape for shape in SHAPES[type_] if not any(match[1] for match in _HOLE.finditer(shape)))
    return shapes or tuple(f"{{{other}}}" for other in ("ints", "strings"))


def _fill(dice: Dice, shape: str, depth: int, names: tuple[str, ...]) -> Iterator[str | Tree]:
    end = 0
    for hole in _HOLE.finditer(shape):
        yield shape[end : hole.start()]
        end = hole.end()
        kind, body = hole[1], hole[2]
        if kind is None:
            yield hole[0][0]
        elif kind in _MACROS and body is not None:
            new = tuple(f"{letter}{len(names)}" for letter in ("kv" if kind == "both" else "x"))
            yield ", ".join(new) + ", "
            if kind in ("bind", "domain"):
                yield _grow(dice, "any" if kind == "bind" else kind, depth, names)
                yield ", "
            yield _grow(dice, body, depth, (*names, *new))
        else:
            yield _grow(dice, kind, depth, names)
    yield shape[end:]


def make_device(dice: Dice) -> Json:
    """A device with attributes of all types; some lack some."""
    attributes: Json = {
        "s": {"string": dice.pick(("fish", "", "é", "1.2.3", "10.0.0.1"))},
        "i": {"int": dice.pick((5, 0, -1, 2**63 - 1))},
        "b": {"bool": dice.chance(0.5)},
        "v": {"version": dice.pick(("1.2.3", "2.0.0-rc.1", "1.0.0+build"))},
        "l": {"strings": dice.pick((["a", "b"], ["fish"], ["a", "a", "c"]))},
        "ns": {"ints": dice.pick(([1, 2], [7], [3, 1, 2]))},
        "bs": {"bools": [True, False]},
        "vs": {"versions": ["1.0.0", "2.0.0"]},
        "other.example.com/x": {"string": "o"},
    }
    capacity = {"mem": {"value": dice.pick(("1Gi", "80Gi", "1500m"))}, "cores": {"value": dice.pick(("2", "100"))}}
    return {
        "driver": DOMAIN,
        "attributes": {name: value for name, value in attributes.items() if dice.chance(0.9)},
        "capacity": {name: value for name, value in capacity.items() if dice.chance(0.9)},
        "allowMultipleAllocations": dice.chance(0.5),
    }


def shrink_tree(tree: Tree, differs: Callable[[str], bool]) -> Tree:
    """A smaller one that differs, too: each expression gives way to a leaf of its type, or to one that is inside it."""
    progress = True
    while progress:
        progress = False
        for smaller in _smaller(tree):
            if len(str(smaller)) < len(str(tree)) and differs(str(smaller)):
                tree, progress = smaller, True
                break
    return tree


def _smaller(tree: Tree) -> Iterator[Tree]:
    yield from tree.trees()
    for leaf in _leaves(tree.type) if tree.type in SHAPES else ("1", "true"):
        yield Tree(tree.type, (leaf,))
    for index, part in enumerate(tree.parts):
        if isinstance(part, Tree):
            for smaller in _smaller(part):
                yield Tree(tree.type, (*tree.parts[:index], smaller, *tree.parts[index + 1 :]))
