"""Times in RFC 3339, read as Go reads them and refused in Go's words.

Upstream: `time.Parse(time.RFC3339, ...)`.
"""

from __future__ import annotations

import calendar
import re
from typing import Final

from dra_operator.validation.gotext import quote

_LAYOUT: Final = "2006-01-02T15:04:05Z07:00"
_PARTS: Final = (
    ("2006", re.compile(r"[0-9]{4}")),
    ("-", re.compile("-")),
    ("01", re.compile(r"[0-9]{2}")),
    ("-", re.compile("-")),
    ("02", re.compile(r"[0-9]{2}")),
    ("T", re.compile("T")),
    ("15", re.compile(r"[0-9]{1,2}")),
    (":", re.compile(":")),
    ("04", re.compile(r"[0-9]{2}")),
    (":", re.compile(":")),
    ("05", re.compile(r"[0-9]{2}(?:[.,][0-9]+)?")),
    ("Z07:00", re.compile(r"Z|[+-][0-9]{2}:[0-9]{2}")),
)
_LIMITS: Final = {"01": ("month", 1, 12), "15": ("hour", 0, 23), "04": ("minute", 0, 59), "05": ("second", 0, 59)}


class NotATime(ValueError):
    """The text is not a time. The message is the API server's."""


def parse_time(text: str) -> float:
    """Seconds since 1970. Raises NotATime."""
    rest = text
    values: dict[str, str] = {}
    for name, pattern in _PARTS:
        found = pattern.match(rest)
        if not found or not found.group().isascii():
            raise NotATime(
                f"parsing time {quote(text)} as {quote(_LAYOUT)}: cannot parse {quote(rest)} as {quote(name)}"
            )
        if name in _LIMITS:
            part, low, high = _LIMITS[name]
            if not low <= int(found.group()[:2]) <= high:
                raise NotATime(f"parsing time {quote(text)}: {part} out of range")
        values[name] = found.group()
        rest = rest[found.end() :]
    if rest:
        raise NotATime(f"parsing time {quote(text)}: extra text: {quote(rest)}")
    year, month, day = int(values["2006"]), int(values["01"]), int(values["02"])
    if not 1 <= day <= calendar.monthrange(year or 4, month)[1]:
        raise NotATime(f"parsing time {quote(text)}: day out of range")
    seconds, _, fraction = values["05"].replace(",", ".").partition(".")
    moment = calendar.timegm((year or 4, month, day, int(values["15"]), int(values["04"]), int(seconds)))
    return moment - _offset(text, values["Z07:00"]) + (float(f"0.{fraction}") if fraction else 0.0)


def _offset(text: str, zone: str) -> int:
    if zone == "Z":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 24 or minutes > 60:
        raise NotATime(
            f"parsing time {quote(text)}: time zone offset {'hour' if hours > 24 else 'minute'} out of range"
        )
    return (1 if zone[0] == "+" else -1) * (hours * 3600 + minutes * 60)
