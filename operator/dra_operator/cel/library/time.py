"""Durations and timestamps: parsing, printing and taking them apart.

Both are whole nanoseconds. Durations range over int64 nanoseconds, timestamps over the years 1 to 9999, but for those
that are written as messages: they lie in any year, as in Go.

Upstream: `common/types/{duration,timestamp}.go` in cel-go; `time.ParseDuration` and RFC 3339 in Go.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Final

from dra_operator.cel.arithmetic import checked_timestamp
from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library
from dra_operator.cel.values import MAX_INT64, Duration, Timestamp

LIBRARY: Final = Library()

_SECOND: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SAFE: Final = -62_000_000_000  # far enough within the years 1 to 9999 for any time zone
_LAST_SAFE: Final = 253_000_000_000
_FIRST_IN_GO: Final = -9_223_372_028_741_760_000  # Go's calendar starts there: what is before comes out at its end
_CYCLE: Final = 146_097 * 86_400  # the calendar repeats after 400 years, days of the week too
_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # micro sign
    "μs": 1_000,  # Greek mu
    "ms": 1_000_000,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
}
_PART: Final = re.compile(r"(?=[0-9.]*[0-9])([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_RFC3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?"
    r"(Z|[+-]([0-9]{2}):([0-9]{2}))"
)
_OFFSET: Final = re.compile(r"([+-]?[0-9]{1,9}):([+-]?[0-9]{1,9})")


def parse_duration(text: str) -> Duration:
    """As Go's ParseDuration: `1h30m`, `-1.5s`, `0`."""
    failed = CELEvaluationError("type conversion error from 'string' to 'google.protobuf.Duration'")
    negative = text[:1] == "-"
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return Duration(0)
    total, position = 0, 0
    while position < len(rest):
        match = _PART.match(rest, position)
        if match is None or len(match[1]) > 20:
            raise failed
        unit = _UNITS[match[3]]
        fraction = (match[2] or "")[:18]
        total += int(match[1] or "0") * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
        position = match.end()
    if not rest or total > MAX_INT64 + negative:
        raise failed
    return Duration(-total if negative else total)


def parse_timestamp(text: str) -> Timestamp:
    """An RFC 3339 timestamp."""
    failed = CELEvaluationError("type conversion error from 'string' to 'google.protobuf.Timestamp'")
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise failed
    offset = 0
    if match[8] != "Z":
        hours, minutes = int(match[9]), int(match[10])
        if hours > 24 or minutes > 60:  # as Go has it, for those who write so
            raise failed
        offset = (hours * 60 + minutes) * (-1 if match[8][0] == "-" else 1)
    try:
        year, month, day, hour, minute, second = (int(part) for part in match.group(1, 2, 3, 4, 5, 6))
        local = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise failed from None
    fraction = int((match[7] or "0")[:9].ljust(9, "0"))
    whole = (local - _EPOCH) // timedelta(seconds=1) - offset * 60
    return checked_timestamp(whole * _SECOND + fraction, offset)


def format_duration(duration: Duration) -> str:
    """Seconds with as many decimals as needed: `5400s`, `0.5s`."""
    whole, rest = divmod(abs(duration.nanoseconds), _SECOND)
    text = f"{Decimal(repr(whole + rest / _SECOND)):f}".removesuffix(".0")
    return f"{'-' if duration.nanoseconds < 0 else ''}{text}s"


def format_timestamp(timestamp: Timestamp) -> str:
    """RFC 3339 with as many decimals as needed."""
    moment, years = _local(timestamp, timedelta(minutes=timestamp.offset_minutes))
    fraction = f"{timestamp.nanoseconds % _SECOND:09d}".rstrip("0")
    offset = timestamp.offset_minutes
    sign, magnitude = ("-" if offset < 0 else "+"), abs(offset)
    zone = f"{sign}{magnitude // 60:02d}:{magnitude % 60:02d}" if offset else "Z"
    year = moment.year + years
    day = f"{'-' if year < 0 else ''}{abs(year):04d}-{moment.month:02d}-{moment.day:02d}"
    clock = f"{moment.hour:02d}:{moment.minute:02d}:{moment.second:02d}"
    return f"{day}T{clock}{'.' + fraction if fraction else ''}{zone}"


def _local(timestamp: Timestamp, zone: tzinfo | timedelta) -> tuple[datetime, int]:
    """The moment there, and the years to add: a message may lie outside the years that Python knows.

    `zone`: one with a name, or how far it is from UTC, which may be more than a day.
    """
    seconds = timestamp.nanoseconds // _SECOND
    if isinstance(zone, timedelta):
        seconds, zone = seconds + zone // timedelta(seconds=1), UTC
    if seconds < _FIRST_IN_GO:
        seconds += 1 << 64
    # As few cycles as will do: zones had other rules in the past.
    cycles = min((seconds - _FIRST_SAFE) // _CYCLE, 0) + max((seconds - _LAST_SAFE) // _CYCLE + 1, 0)
    return (_EPOCH + timedelta(seconds=seconds - cycles * _CYCLE)).astimezone(zone), 400 * cycles


def _zone(name: str) -> tzinfo | timedelta:
    if name in ("UTC", "", "Local"):  # the programs of a control plane run in UTC
        return UTC
    if ":" in name:
        offset = _OFFSET.fullmatch(name)
        if offset is None:
            raise CELEvaluationError(f"not an offset from UTC: {name}")
        minutes = int(offset[2])
        return timedelta(minutes=int(offset[1]) * 60 + (-minutes if name[0] == "-" else minutes))
    from zoneinfo import ZoneInfo  # reads the system's data; hardly any selector asks for it

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise CELEvaluationError(f"unknown time zone {name}") from None


def _declare_parts(name: str, part: Callable[[datetime], int]) -> None:
    @LIBRARY.function(f"timestamp.{name}() -> int", f"timestamp.{name}(string) -> int")
    def get(timestamp: Timestamp, zone: str = "UTC") -> int:
        return part(_local(timestamp, _zone(zone))[0])


@LIBRARY.function("timestamp.getFullYear() -> int", "timestamp.getFullYear(string) -> int")
def full_year(timestamp: Timestamp, zone: str = "UTC") -> int:
    moment, years = _local(timestamp, _zone(zone))
    return moment.year + years


_declare_parts("getMonth", lambda moment: moment.month - 1)
_declare_parts("getDayOfYear", lambda moment: moment.timetuple().tm_yday - 1)
_declare_parts("getDayOfMonth", lambda moment: moment.day - 1)
_declare_parts("getDate", lambda moment: moment.day)
_declare_parts("getDayOfWeek", lambda moment: moment.isoweekday() % 7)
_declare_parts("getHours", lambda moment: moment.hour)
_declare_parts("getMinutes", lambda moment: moment.minute)
_declare_parts("getSeconds", lambda moment: moment.second)


@LIBRARY.function("timestamp.getMilliseconds() -> int", "timestamp.getMilliseconds(string) -> int")
def timestamp_milliseconds(timestamp: Timestamp, zone: str = "UTC") -> int:
    _zone(zone)
    return timestamp.nanoseconds % _SECOND // 1_000_000


def _declare_total(name: str, unit: int) -> None:
    @LIBRARY.function(f"duration.{name}() -> int")
    def get(duration: Duration) -> int:
        whole = abs(duration.nanoseconds) // unit
        return whole if duration.nanoseconds >= 0 else -whole


_declare_total("getHours", 3600 * _SECOND)
_declare_total("getMinutes", 60 * _SECOND)
_declare_total("getSeconds", _SECOND)
_declare_total("getMilliseconds", 1_000_000)
