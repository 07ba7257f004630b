"""Semantic versions: `semver("1.2.3")`, comparison, parts. `semver(text, true)` forgives `v1.0` and leading zeros.

Upstream: `pkg/cel/library/semverlib.go` in k8s.io/apiserver.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from dra_operator.api.semver import Version, VersionError
from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library
from dra_operator.cel.values import MAX_INT64

LIBRARY: Final = Library()


@lru_cache(maxsize=1024)
def _parse(text: str, normalize: bool) -> Version:
    return Version.parse(_normalize(text) if normalize else text)


def _normalize(text: str) -> str:
    parts = text.removeprefix("v").split(".", 2)
    for position, part in enumerate(parts):
        if len(part) > 1:
            stripped = part.lstrip("0")
            parts[position] = stripped if stripped[:1].isascii() and stripped[:1].isdigit() else "0" + stripped
    if len(parts) < 3:
        if "+" in parts[-1] or "-" in parts[-1]:
            raise VersionError("short version cannot contain PreRelease/Build meta data")
        parts += ["0"] * (3 - len(parts))
    return ".".join(parts)


@LIBRARY.function("semver(string) -> Semver", "semver(string, bool) -> Semver")
def parse(text: str, normalize: bool = False) -> Version:
    try:
        return _parse(text, normalize)
    except VersionError as error:
        raise CELEvaluationError(str(error)) from None


@LIBRARY.function("isSemver(string) -> bool", "isSemver(string, bool) -> bool")
def is_semver(text: str, normalize: bool = False) -> bool:
    try:
        _parse(text, normalize)
    except VersionError:
        return False
    return True


@LIBRARY.function("Semver.isGreaterThan(Semver) -> bool")
def is_greater_than(version: Version, other: Version) -> bool:
    return version.compare(other) > 0


@LIBRARY.function("Semver.isLessThan(Semver) -> bool")
def is_less_than(version: Version, other: Version) -> bool:
    return version.compare(other) < 0


@LIBRARY.function("Semver.compareTo(Semver) -> int")
def compare_to(version: Version, other: Version) -> int:
    return version.compare(other)


def _signed(number: int) -> int:
    return number if number <= MAX_INT64 else number - (1 << 64)  # Go converts uint64 to int64 without a check


@LIBRARY.function("Semver.major() -> int")
def major(version: Version) -> int:
    return _signed(version.major)


@LIBRARY.function("Semver.minor() -> int")
def minor(version: Version) -> int:
    return _signed(version.minor)


@LIBRARY.function("Semver.patch() -> int")
def patch(version: Version) -> int:
    return _signed(version.patch)
