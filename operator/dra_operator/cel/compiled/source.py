"""The Python text of one compiled selector, while it is written.

Text of the user never gets into it: every string, every number that is not small, every function is a constant bound
to a name (`k0`, `k1`, …), and so are the few helpers of `runtime.py`. What is formatted into the text are names made
here and small integers.

A `Term` is a piece of Python that gives the value of one node, with what is known about that value.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from sys import intern
from typing import Any, Final

_SMALL: Final = 1 << 31
_MAX_BLOCKS: Final = 16  # Python allows 20
_MAX_LINES: Final = 4_000
_INDENT: Final = "  "


class CannotCompile(Exception):
    """The expression is too large or too deep for this path; the evaluator takes it."""


@dataclass(frozen=True, slots=True)
class Term:
    """Python that gives a value."""

    code: str
    kind: type | None = None  # the exact type of the value, where it is known
    can_fail: bool = False
    is_atom: bool = False  # a name or a literal: may be repeated
    values: type | None = None  # of a map: the exact type of its values, where it is known
    constant: Any = field(default=None, compare=False)
    is_constant: bool = False


class Source:
    """Lines, names and constants."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, str]] = []
        self._depth = 0
        self._names = 0
        self.constants: dict[str, Any] = {}
        self._bound: dict[int, str] = {}

    @property
    def position(self) -> int:
        return len(self._lines)

    def line(self, text: str) -> None:
        if len(self._lines) >= _MAX_LINES:
            raise CannotCompile
        self._lines.append((self._depth, text))

    def insert(self, position: int, text: str) -> None:
        """Put a line before what was written since `position`, in this block."""
        self._lines.insert(position, (self._depth, text))

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        self.line(header)
        self._depth += 1
        if self._depth > _MAX_BLOCKS:
            raise CannotCompile
        before = len(self._lines)
        yield
        if len(self._lines) == before:
            self.line("pass")
        self._depth -= 1

    def forget_since(self, position: int) -> None:
        """Take back what was written since `position`."""
        del self._lines[position:]

    def indent_since(self, position: int, header: str) -> None:
        """Make what was written since `position` the body of a block."""
        body = [(depth + 1, text) for depth, text in self._lines[position:]]
        if any(depth > _MAX_BLOCKS for depth, _ in body):
            raise CannotCompile
        self._lines[position:] = [(self._depth, header), *body]

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """Go on inside that block."""
        self._depth += 1
        yield
        self._depth -= 1

    def name(self, stem: str = "t") -> str:
        """A name that was not used before."""
        self._names += 1
        return f"{stem}{self._names}"

    def bind(self, value: Any) -> str:
        """The name of a constant."""
        if type(value) is str:
            value = intern(value)  # as the names of attributes are
        name = self._bound.get(id(value))
        if name is None:
            name = self._bound[id(value)] = f"k{len(self.constants)}"
            self.constants[name] = value  # which keeps it alive, so that its id stays its own
        return name

    def constant(self, value: Any) -> Term:
        if value is None or value is True or value is False or (type(value) is int and 0 <= value < _SMALL):
            code = str(value)
        else:
            code = self.bind(value)
        return Term(code, type(value), is_atom=True, constant=value, is_constant=True)

    def text(self) -> str:
        return "\n".join(_INDENT * depth + text for depth, text in self._lines) + "\n"
