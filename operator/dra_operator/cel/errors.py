"""What can go wrong with an expression: it does not compile, or it fails on a device.

`CELEvaluationError` can be absorbed by `&&`, `||` and the macros built on them; a spent budget cannot, it always ends
the evaluation. Callers see both as `CELRuntimeError`. The texts follow cel-go, since users compare them.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    column = issue.offset - (before.rfind("\n") + 1)
    source = expression.split("\n")[line - 1]
    return f"ERROR: <input>:{line}:{column + 1}: {issue.message}\n | {source}\n | {'.' * column}^"
