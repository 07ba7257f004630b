"""Conversions between the basic types: `int("5")`, `string(1.5)`, `type(x)`, `dyn(x)`, …

Upstream: `ConvertToType` in `common/types` of cel-go, with Go's `strconv` behind it.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from dra_operator.cel.arithmetic import checked_timestamp
from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library
from dra_operator.cel.library import time
from dra_operator.cel.values import MAX_INT64, MAX_UINT64, MIN_INT64, Duration, Timestamp, TypeValue, UInt, type_name

LIBRARY: Final = Library()

# Functions that the API server evaluates when it compiles, if their argument is constant.
CONVERSIONS: Final = frozenset(
    ("bool", "bytes", "double", "dyn", "duration", "int", "string", "timestamp", "type", "uint")
)

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_UNSIGNED: Final = re.compile(r"[0-9]+")
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEXADECIMAL: Final = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+")
_SEPARATOR: Final = re.compile(r"(?<=[0-9a-fA-FxX])_(?=[0-9a-fA-F])")  # Go lets underscores separate digits
_NAMED: Final = re.compile(r"[+-]?inf(?:inity)?|nan", re.IGNORECASE)
_BOOLS: Final = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)


def _failed(source: str, target: str) -> CELEvaluationError:
    return CELEvaluationError(f"type conversion error from '{source}' to '{target}'")


def _overflow(name: str = "integer") -> CELEvaluationError:
    return CELEvaluationError(f"{name} overflow")


@LIBRARY.function("type(A) -> type<A>")
def to_type(value: Any) -> TypeValue:
    return TypeValue(type_name(value))


@LIBRARY.function("dyn(A) -> dyn")
def to_dyn(value: Any) -> Any:
    return value


@LIBRARY.function(
    "bool(bool) -> bool",
    "bytes(bytes) -> bytes",
    "double(double) -> double",
    "duration(duration) -> duration",
    "int(int) -> int",
    "string(string) -> string",
    "timestamp(timestamp) -> timestamp",
    "uint(uint) -> uint",
)
def unchanged(value: Any) -> Any:
    return value


@LIBRARY.function("bool(string) -> bool")
def parse_bool(text: str) -> bool:
    if text not in _BOOLS:
        raise _failed("string", "bool")
    return _BOOLS[text]


@LIBRARY.function("bytes(string) -> bytes")
def encode(text: str) -> bytes:
    return text.encode()


@LIBRARY.function("double(int) -> double", "double(uint) -> double")
def widen(number: int) -> float:
    return float(number)


@LIBRARY.function("double(string) -> double")
def parse_double(text: str) -> float:
    if _NAMED.fullmatch(text):
        return float(text)
    text = _SEPARATOR.sub("", text)
    try:
        if _DECIMAL.fullmatch(text):
            number = float(text)
        elif _HEXADECIMAL.fullmatch(text):
            number = float.fromhex(text)
        else:
            raise _failed("string", "double")
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise _failed("string", "double")
    return number


@LIBRARY.function("int(double) -> int")
def truncate(number: float) -> int:
    if not -9223372036854775808.0 < number < 9223372036854775808.0:
        raise _overflow()
    return int(number)


@LIBRARY.function("int(uint) -> int")
def as_signed(number: int) -> int:
    if number > MAX_INT64:
        raise _overflow()
    return int(number)


@LIBRARY.function("int(string) -> int")
def parse_int(text: str) -> int:
    if len(text) > 64 or _INTEGER.fullmatch(text) is None or not MIN_INT64 <= int(text) <= MAX_INT64:
        raise _failed("string", "int")
    return int(text)


@LIBRARY.function("int(duration) -> int")
def nanoseconds(duration: Duration) -> int:
    return duration.nanoseconds


@LIBRARY.function("int(timestamp) -> int")
def epoch_seconds(timestamp: Timestamp) -> int:
    seconds = timestamp.nanoseconds // 1_000_000_000
    return (seconds - MIN_INT64) % (1 << 64) + MIN_INT64  # as Go counts an instant that is written as a message


@LIBRARY.function("uint(double) -> uint")
def truncate_unsigned(number: float) -> UInt:
    if not 0.0 <= number < 18446744073709551616.0:
        raise _overflow("unsigned integer")
    return UInt(number)


@LIBRARY.function("uint(int) -> uint")
def as_unsigned(number: int) -> UInt:
    if number < 0:
        raise _overflow("unsigned integer")
    return UInt(number)


@LIBRARY.function("uint(string) -> uint")
def parse_uint(text: str) -> UInt:
    if len(text) > 64 or _UNSIGNED.fullmatch(text) is None or int(text) > MAX_UINT64:
        raise _failed("string", "uint")
    return UInt(text)


@LIBRARY.function("string(bool) -> string")
def bool_text(value: bool) -> str:
    return "true" if value else "false"


@LIBRARY.function("string(bytes) -> string")
def decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CELEvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None


@LIBRARY.function("string(double) -> string")
def double_text(number: float) -> str:
    """As Go's `%g`: the shortest digits, with an exponent below 1e-4 and from 1e6."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    if number == 0 or 1e-4 <= abs(number) < 1e6:
        return repr(number).removesuffix(".0")
    digits = len(repr(abs(number)).partition("e")[0].replace(".", "").strip("0"))
    mantissa, _, exponent = f"{number:.{max(digits - 1, 0)}e}".partition("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:].zfill(2)}"


@LIBRARY.function("string(int) -> string", "string(uint) -> string")
def integer_text(number: int) -> str:
    return str(int(number))


@LIBRARY.function("string(duration) -> string")
def duration_text(duration: Duration) -> str:
    return time.format_duration(duration)


@LIBRARY.function("string(timestamp) -> string")
def timestamp_text(timestamp: Timestamp) -> str:
    return time.format_timestamp(timestamp)


@LIBRARY.function("duration(string) -> duration")
def parse_duration(text: str) -> Duration:
    return time.parse_duration(text)


@LIBRARY.function("timestamp(string) -> timestamp")
def parse_timestamp(text: str) -> Timestamp:
    return time.parse_timestamp(text)


@LIBRARY.function("timestamp(int) -> timestamp")
def from_epoch(seconds: int) -> Timestamp:
    return checked_timestamp(seconds * 1_000_000_000)
