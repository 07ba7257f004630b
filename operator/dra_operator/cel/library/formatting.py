"""`"%s has %d".format([...])`: text with values put in.

Version 2 of upstream's library prints `%f` and `%e` for the locale en_US, with grouped digits and powers of ten, and
takes the precision of `%e` for a width (its default too). That is kept, since an expression may compare the text.

Upstream: `ext/formatting.go` in cel-go.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library
from dra_operator.cel.library import conversions, time
from dra_operator.cel.values import Duration, Timestamp, TypeValue, UInt, check_size, key_value, type_name

LIBRARY: Final = Library()

_DEFAULT_PRECISION: Final = 6
_MAX_PRECISION: Final = 1_000  # upstream has no limit in this version; ours bounds the work
_SUPERSCRIPTS: Final = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_ESCAPES: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}

# What each clause takes, by type name. The checker of literals uses this too.
ACCEPTED: Final[dict[str, frozenset[str]]] = {
    "s": frozenset(
        (
            "list",
            "map",
            "int",
            "uint",
            "double",
            "bool",
            "string",
            "bytes",
            "type",
            "null",
            "null_type",
            "google.protobuf.Timestamp",
            "google.protobuf.Duration",
        )
    ),
    "d": frozenset(("int", "uint")),
    "f": frozenset(("double", "string")),
    "e": frozenset(("double", "string")),
    "b": frozenset(("int", "uint", "bool")),
    "x": frozenset(("int", "uint", "string", "bytes")),
    "X": frozenset(("int", "uint", "string", "bytes")),
    "o": frozenset(("int", "uint")),
}


class Clause(NamedTuple):
    verb: str
    precision: int


def clauses(pattern: str) -> Iterator[str | Clause]:
    """The pieces of a format string: text as it is, and clauses. Raises CELEvaluationError."""
    position = 0
    while position < len(pattern):
        percent = pattern.find("%", position)
        if percent < 0:
            yield pattern[position:]
            return
        if percent > position:
            yield pattern[position:percent]
        if pattern.startswith("%%", percent):
            yield "%"
            position = percent + 2
            continue
        position, clause = _clause(pattern, percent + 1)
        yield clause


def _clause(pattern: str, position: int) -> tuple[int, Clause]:
    precision = _DEFAULT_PRECISION
    if pattern.startswith(".", position):
        end = position + 1
        while end < len(pattern) and pattern[end] in "0123456789":
            end += 1
        digits = pattern[position + 1 : end]
        if not digits or len(digits) > 4 or int(digits) > _MAX_PRECISION:
            raise CELEvaluationError("could not parse formatting clause: error while parsing precision")
        position, precision = end, int(digits)
    if position >= len(pattern):
        raise CELEvaluationError("unexpected end of string")
    verb = pattern[position]
    if verb not in ACCEPTED:
        raise CELEvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')
    return position + 1, Clause(verb, precision)


@LIBRARY.function("string.format(list<dyn>) -> string")
def format_text(pattern: str, args: Sequence[Any]) -> str:
    parts: list[str] = []
    position = 0
    for piece in clauses(pattern):
        if isinstance(piece, str):
            parts.append(piece)
            continue
        if position >= len(args):
            raise CELEvaluationError(f"index {position} out of range")
        parts.append(_apply(piece, args[position]))
        position += 1
    return "".join(parts)


def _apply(clause: Clause, value: Any) -> str:
    kind = type_name(value)
    if kind not in ACCEPTED[clause.verb]:
        raise CELEvaluationError(f"error during formatting: %{clause.verb} does not take {kind}")
    match clause.verb:
        case "s":
            return _text(value)
        case "f" | "e":
            return _floating(clause, value)
        case "b":
            return format(int(value), "b")
        case "o":
            return format(int(value), "o")
        case "x" | "X":
            return _hexadecimal(clause.verb, value)
        case _:
            return str(int(value))


def _floating(clause: Clause, value: Any) -> str:
    if isinstance(value, str):
        if value not in ("NaN", "Infinity", "-Infinity"):
            raise CELEvaluationError(f"error during formatting: %{clause.verb} does not take string")
        value = float(value)
    value = value or 0.0  # there is no -0.0
    if not math.isfinite(value):
        text = "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    elif clause.verb == "f":
        text = f"{value:,.{clause.precision}f}"
    else:
        mantissa, _, exponent = f"{value:.{_DEFAULT_PRECISION}e}".partition("e")
        power = f"{'-' if exponent[0] == '-' else ''}{exponent[1:].zfill(2)}".translate(_SUPERSCRIPTS)
        text = f"{mantissa}×10{power}"
    return text if clause.verb == "f" else text.rjust(clause.precision)


def _hexadecimal(verb: str, value: Any) -> str:
    if isinstance(value, str):
        value = value.encode()
    text = value.hex() if isinstance(value, bytes) else format(int(value), "x")
    return text.upper() if verb == "X" else text


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return conversions.decode(value)
    if isinstance(value, float):
        return conversions.double_text(value)
    if isinstance(value, Duration):
        return time.format_duration(value)
    if isinstance(value, Timestamp):
        return time.format_timestamp(value)
    if isinstance(value, TypeValue):
        return value.name
    check_size(_extent(value, {}))
    return _nested(value)


def _extent(value: Any, known: dict[int, tuple[int, Any]]) -> int:
    """About how long the text of a value is, without making it: the same list can be in it a billion times.

    `known`: by id, with the value, so that the id stays its own.
    """
    if isinstance(value, str | bytes):
        return len(value)
    if not isinstance(value, list | tuple | dict):
        return 1
    if id(value) not in known:
        parts = chain(value, value.values()) if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_extent(part, known) for part in parts), value
    return known[id(value)][0]


def _nested(value: Any) -> str:
    """A value inside a list or a map: quoted, and fixed-point if it is a double."""
    match value:
        case None:
            return "null"
        case bool():
            return conversions.bool_text(value)
        case UInt() | int():
            return str(int(value))
        case float():
            if math.isfinite(value):
                return f"{value:.{_DEFAULT_PRECISION}f}"
            return quoted(conversions.double_text(value))
        case str():
            return quoted(value)
        case bytes():
            return "b" + quoted(conversions.decode(value))
        case Duration():
            return f'duration("{time.format_duration(value)}")'
        case Timestamp():
            return f'timestamp("{time.format_timestamp(value)}")'
        case TypeValue():
            return value.name
        case dict():
            entries = sorted(f"{_key(key_value(key))}:{_nested(item)}" for key, item in value.items())
            return "{" + ", ".join(entries) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_nested, value)) + "]"
        case _:
            raise CELEvaluationError(f"no formatting function for {type_name(value)}")


def _key(value: Any) -> str:
    if not isinstance(value, bool | int | str):
        raise CELEvaluationError(f"error during formatting: no formatting function for map key of {type_name(value)}")
    return _nested(value)


def quoted(text: str) -> str:
    """As Go quotes text: what cannot be printed is escaped."""
    return '"' + "".join(_ESCAPES.get(each) or (each if each.isprintable() else _code(each)) for each in text) + '"'


def _code(character: str) -> str:
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
