"""`find` and `findAll`, and compiled patterns for `matches`: RE2, so no pattern can take exponential time.

Upstream: `pkg/cel/library/regex.go` in k8s.io/apiserver. Go's regexp and RE2 share syntax and leftmost-first matching.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library

if TYPE_CHECKING:
    Pattern = Any

LIBRARY: Final = Library()

_ESCAPE: Final = re.compile(r"\\Q.*?(?:\\E|\Z)|\\(.)", re.DOTALL)


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Pattern:
    """The compiled pattern. Raises CELEvaluationError if it is not one."""
    # One byte of a character, to RE2; Go does not know it.
    if "\\C" in pattern and any(escape[1] == "C" for escape in _ESCAPE.finditer(pattern)):
        raise CELEvaluationError("Illegal regex: error parsing regexp: invalid escape sequence: `\\C`")
    import re2  # 16 ms, and most selectors need no pattern

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else error.args[0]
        raise CELEvaluationError(f"Illegal regex: error parsing regexp: {reason}") from None


@LIBRARY.function("string.find(string) -> string")
def find(text: str, pattern: str) -> str:
    match = compile_pattern(pattern).search(text)
    return "" if match is None else str(match.group())


@LIBRARY.function("string.findAll(string) -> list<string>", "string.findAll(string, int) -> list<string>")
def find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found: list[str] = []
    end_of_last = -1
    for match in compile_pattern(pattern).finditer(text):
        if 0 <= limit <= len(found):
            break
        if match.start() == match.end() == end_of_last:
            continue  # Go gives no empty match right after another match
        found.append(str(match.group()))
        end_of_last = match.end()
    return found
