"""What can go wrong with an expression: it does not compile, or it fails on a device.

`CELEvaluationError` can be absorbed by `&&`, `||` and the macros built on them; a spent budget cannot, it always ends
the evaluation. Callers see both as `CELRuntimeError`. The texts follow cel-go, since users compare them: all of what is
wrong quotes the whole line, a hundred times at most. That can be two megabytes; where others pay for it (conditions,
Events, answers, logs) stands `CELCompileError.brief`.

Upstream: `common/errors.go` and `common/error.go` in cel-go.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final

_WIDE_DOT: Final = "．"
_WIDE_CARET: Final = "＾"
_MOST_ISSUES: Final = 100
"""`maxErrorsToReport` of cel-go."""
_ROOM: Final = 32_000
"""Characters of all messages, since failures are remembered: a type in a message can be long. Upstream has no bound."""
_BRIEF: Final = 2_000
"""Characters of a text that is to be short."""
_EXCERPT: Final = 160
_MESSAGE: Final = 500
_ELLIPSIS: Final = "…"


@dataclass(frozen=True, slots=True)
class Issue:
    """One complaint about an expression. `offset` counts characters from the start."""

    offset: int
    message: str


class CELCompileError(ValueError):
    """The expression cannot be used. `issues` are in the order of the text, and there were `more`."""

    def __init__(
        self, expression: str, issues: tuple[Issue, ...], prefix: str = "compilation failed: ", more: int = 0
    ) -> None:
        super().__init__()  # the text is made when somebody reads it: it can be long, and most are only counted
        self.expression = expression
        self.issues = issues
        self.prefix = prefix
        self.more = more

    def __str__(self) -> str:
        return self._text([_render(self.expression, issue) for issue in self.issues])

    @property
    def brief(self) -> str:
        """The same in two thousand characters or so: the first issues, with what is around their places."""
        told: list[str] = []
        left = _BRIEF
        for issue in self.issues:
            text = _render(self.expression, Issue(issue.offset, _shortened(issue.message, _MESSAGE)), _EXCERPT)
            left -= len(text)
            if told and left < 0:
                break
            told.append(text)
        return self._text(told)

    def again(self) -> CELCompileError:
        """The same, to be raised once more: an exception that is raised twice keeps what it went through."""
        return CELCompileError(self.expression, self.issues, self.prefix, self.more)

    def _text(self, told: list[str]) -> str:
        untold = len(self.issues) - len(told) + self.more
        if untold:
            told.append(f"{untold} more errors were truncated")
        return self.prefix + "\n".join(told)

    def __reduce__(self) -> tuple[type[CELCompileError], tuple[object, ...]]:
        return (CELCompileError, (self.expression, self.issues, self.prefix, self.more))


class Issues:
    """What is found wrong with an expression, in the order in which it is found: the first hundred are kept."""

    def __init__(self) -> None:
        self._kept: list[Issue] = []
        self._more = 0
        self._room = _ROOM

    def add(self, offset: int, message: str) -> None:
        if len(self._kept) < _MOST_ISSUES and self._room > 0:
            self._kept.append(Issue(offset, _shortened(message, self._room)))
            self._room -= len(message)
        else:
            self._more += 1

    def raise_if_any(self, expression: str) -> None:
        """Raises CELCompileError."""
        if self._kept:
            in_order = tuple(sorted(self._kept, key=lambda issue: issue.offset))
            raise CELCompileError(expression, in_order, more=self._more)


class CELRuntimeError(Exception):
    """Evaluating the expression on this device failed: that is not "no match"."""


class CELEvaluationError(CELRuntimeError):
    """An operation failed. Logical operators may absorb it."""


class CELCostError(CELRuntimeError):
    """The evaluation spent its budget."""


def _render(expression: str, issue: Issue, width: int | None = None) -> str:
    if issue.offset < 0:
        return issue.message
    line = expression.count("\n", 0, issue.offset) + 1
    column = issue.offset - expression.rfind("\n", 0, issue.offset)
    return f"ERROR: <input>:{line}:{column}: {issue.message}\n{snippet(expression, issue.offset, width)}"


def snippet(expression: str, offset: int, width: int | None = None) -> str:
    """The line of a place in an expression, and a caret below it; empty for no place. Of a line that is longer than
    `width`, what is around the place."""
    if offset < 0:
        return ""
    start = expression.rfind("\n", 0, offset) + 1
    end = expression.find("\n", offset)
    source = expression[start : end if end >= 0 else len(expression)].replace("\t", " ")
    place = offset - start
    if width is not None and len(source) > width:
        source, place = _around(source, place, width)
    dots = "".join(_WIDE_DOT if _is_wide(character) else "." for character in source[:place])
    caret = _WIDE_CARET if _is_wide(source[place : place + 1]) else "^"
    return f" | {source}\n | {dots}{caret}"


def _around(source: str, place: int, width: int) -> tuple[str, int]:
    """What is around a place of a line, and where the place is in it."""
    first = max(0, min(place - width // 2, len(source) - width))
    part = source[first : first + width]
    if first + width < len(source):
        part += _ELLIPSIS
    return (_ELLIPSIS + part, place - first + 1) if first else (part, place)


def _shortened(message: str, limit: int) -> str:
    return message if len(message) <= limit else message[:limit] + _ELLIPSIS


def _is_wide(character: str) -> bool:
    """Whether a terminal gives it two columns."""
    return bool(character) and unicodedata.east_asian_width(character) in ("W", "F")
