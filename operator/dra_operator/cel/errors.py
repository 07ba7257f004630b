"""What can go wrong with an expression: it does not compile, or it fails on a device.

`CELEvaluationError` can be absorbed by `&&`, `||` and the macros built on them; a spent budget cannot, it always ends
the evaluation. Callers see both as `CELRuntimeError`. The texts follow cel-go, since users compare them.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final

_WIDE_DOT: Final = "．"
_WIDE_CARET: Final = "＾"


@dataclass(frozen=True, slots=True)
class Issue:
    """One complaint about an expression. `offset` counts characters from the start."""

    offset: int
    message: str


class CELCompileError(ValueError):
    """The expression cannot be used. `issues` are in the order of the text."""

    def __init__(self, expression: str, issues: tuple[Issue, ...], prefix: str = "compilation failed: ") -> None:
        self.expression = expression
        self.issues = issues
        self.prefix = prefix
        super().__init__(prefix + "\n".join(_render(expression, issue) for issue in issues))

    def __reduce__(self) -> tuple[type[CELCompileError], tuple[object, ...]]:
        return (CELCompileError, (self.expression, self.issues, self.prefix))


class CELRuntimeError(Exception):
    """Evaluating the expression on this device failed: that is not "no match"."""


class CELEvaluationError(CELRuntimeError):
    """An operation failed. Logical operators may absorb it."""


class CELCostError(CELRuntimeError):
    """The evaluation spent its budget."""


def _render(expression: str, issue: Issue) -> str:
    if issue.offset < 0:
        return issue.message
    before = expression[: issue.offset]
    line = before.count("\n") + 1
    column = issue.offset - before.rfind("\n")
    return f"ERROR: <input>:{line}:{column}: {issue.message}\n{snippet(expression, issue.offset)}"


def snippet(expression: str, offset: int) -> str:
    """The line of a place in an expression, and a caret below it; empty for no place."""
    if offset < 0:
        return ""
    start = expression.rfind("\n", 0, offset) + 1
    source = expression[start:].split("\n", 1)[0].replace("\t", " ")
    dots = "".join(_WIDE_DOT if _is_wide(character) else "." for character in source[: offset - start])
    caret = _WIDE_CARET if _is_wide(source[offset - start : offset - start + 1]) else "^"
    return f" | {source}\n | {dots}{caret}"


def _is_wide(character: str) -> bool:
    """Whether a terminal gives it two columns."""
    return bool(character) and unicodedata.east_asian_width(character) in ("W", "F")
