"""Strings: `charAt`, `indexOf`, `replace`, `split`, `substring`, `trim`, `join`, `strings.quote`, …

Positions count characters, not bytes. Only ASCII letters change case.

Upstream: `ext/strings.go` version 2 in cel-go. `format` is in `formatting.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library
from dra_operator.cel.values import check_size

LIBRARY: Final = Library()

_UPPER: Final = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_BLANKS: Final = (
    "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)
_QUOTED: Final = str.maketrans(
    {
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\v": "\\v",
        "\\": "\\\\",
        '"': '\\"',
    }
)


def _out_of_range(position: int) -> CELEvaluationError:
    return CELEvaluationError(f"index out of range: {position}")


@LIBRARY.function("string.charAt(int) -> string")
def char_at(text: str, position: int) -> str:
    if not 0 <= position <= len(text):
        raise _out_of_range(position)
    return text[position : position + 1]


@LIBRARY.function("string.indexOf(string) -> int", "string.indexOf(string, int) -> int")
def index_of(text: str, part: str, start: int = 0) -> int:
    if start < 0:
        raise _out_of_range(start)
    if not part:
        return min(start, len(text))
    return text.find(part, start)


@LIBRARY.function("string.lastIndexOf(string) -> int")
def last_index_of(text: str, part: str) -> int:
    return text.rfind(part)


@LIBRARY.function("string.lastIndexOf(string, int) -> int")
def last_index_before(text: str, part: str, start: int) -> int:
    if start < 0:
        raise _out_of_range(start)
    if not part:
        return min(start, len(text))
    return -1 if start >= len(text) else text.rfind(part, 0, start + len(part))


@LIBRARY.function("string.lowerAscii() -> string")
def lower_ascii(text: str) -> str:
    return text.translate(_LOWER)


@LIBRARY.function("string.upperAscii() -> string")
def upper_ascii(text: str) -> str:
    return text.translate(_UPPER)


@LIBRARY.function("string.replace(string, string) -> string", "string.replace(string, string, int) -> string")
def replace(text: str, old: str, new: str, limit: int = -1) -> str:
    found = text.count(old)
    replaced = found if limit < 0 else min(found, limit)
    check_size(len(text) + (replaced * (len(new) - len(old)) if new else 0))
    return text.replace(old, new, replaced)


@LIBRARY.function("string.split(string) -> list<string>", "string.split(string, int) -> list<string>")
def split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if separator:
        return text.split(separator, limit - 1 if limit > 0 else -1)
    if 0 < limit < len(text):
        return [*text[: limit - 1], text[limit - 1 :]]
    return list(text)


@LIBRARY.function("string.substring(int) -> string")
def substring_from(text: str, start: int) -> str:
    if not 0 <= start <= len(text):
        raise _out_of_range(start)
    return text[start:]


@LIBRARY.function("string.substring(int, int) -> string")
def substring(text: str, start: int, end: int) -> str:
    if start > end:
        raise CELEvaluationError(f"invalid substring range. start: {start}, end: {end}")
    for position in (start, end):
        if not 0 <= position <= len(text):
            raise _out_of_range(position)
    return text[start:end]


@LIBRARY.function("string.trim() -> string")
def trim(text: str) -> str:
    return text.strip(_BLANKS)


@LIBRARY.function("strings.quote(string) -> string")
def quote(text: str) -> str:
    return f'"{text.translate(_QUOTED)}"'


@LIBRARY.function("list<string>.join() -> string", "list<string>.join(string) -> string")
def join(parts: Sequence[Any], separator: str = "") -> str:
    for part in parts:
        if not isinstance(part, str):
            raise CELEvaluationError(f"join: invalid input: {part}")
    check_size(sum(map(len, parts)) + len(separator) * len(parts))
    return separator.join(parts)
