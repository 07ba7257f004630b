"""Semantic versions 2.0.0, as strict as the API server is about `version` attributes.

Precedence follows the specification: build metadata never counts, a prerelease comes before its release, numeric
identifiers come before alphanumeric ones. Versions that differ only in build metadata are equal and hash alike.

Upstream: `github.com/blang/semver/v4`. Numbers are limited to uint64 as there, and its messages are kept, because the
API server returns them to users. Lenient parsing (`v1.0`) belongs to the CEL library, not here.
"""

from __future__ import annotations

import re
from functools import lru_cache, total_ordering
from typing import Final

_MAX_UINT64: Final = (1 << 64) - 1
_ALPHANUMERIC: Final = re.compile(r"[0-9A-Za-z-]+")
_NUMERIC: Final = re.compile(r"[0-9]+")

Identifier = tuple[int, int, str]  # (0, number, "") or (1, 0, text): tuples order as the specification asks


class VersionError(ValueError):
    """The text is not a semantic version."""


@total_ordering
class Version:
    """An immutable semantic version, ordered by precedence."""

    __slots__ = ("_precedence", "build", "major", "minor", "patch", "prerelease")

    major: int
    minor: int
    patch: int
    prerelease: tuple[Identifier, ...]
    build: tuple[str, ...]
    _precedence: tuple[int, int, int, bool, tuple[Identifier, ...]]

    def __init__(
        self,
        major: int,
        minor: int,
        patch: int,
        prerelease: tuple[Identifier, ...] = (),
        build: tuple[str, ...] = (),
    ) -> None:
        set_ = object.__setattr__
        set_(self, "major", major)
        set_(self, "minor", minor)
        set_(self, "patch", patch)
        set_(self, "prerelease", prerelease)
        set_(self, "build", build)
        set_(self, "_precedence", (major, minor, patch, not prerelease, prerelease))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Version is immutable: cannot set {name}")

    @classmethod
    def parse(cls, text: str) -> Version:
        """The version that `text` is. Nothing is forgiven: no `v`, no leading zero, no missing part."""
        return _parse(text)

    def compare(self, other: Version) -> int:
        """-1, 0 or 1, as this version precedes, equals or follows `other`."""
        mine, theirs = self._precedence, other._precedence
        return (mine > theirs) - (mine < theirs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._precedence == other._precedence

    def __lt__(self, other: Version) -> bool:
        return self._precedence < other._precedence

    def __hash__(self) -> int:
        return hash(self._precedence)

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        if self.prerelease:
            text += "-" + ".".join(word if is_text else str(number) for is_text, number, word in self.prerelease)
        return f"{text}+{'.'.join(self.build)}" if self.build else text

    def __repr__(self) -> str:
        return f"Version.parse({str(self)!r})"

    def __reduce__(self) -> tuple[type[Version], tuple[object, ...]]:
        return (Version, (self.major, self.minor, self.patch, self.prerelease, self.build))


@lru_cache(maxsize=4096)  # few distinct versions fill a cluster; they are immutable
def _parse(text: str) -> Version:
    if not text:
        raise VersionError("Version string empty")
    parts = text.split(".", 2)
    if len(parts) != 3:
        raise VersionError("No Major.Minor.Patch elements found")
    major = _number(parts[0], "major", "Major")
    minor = _number(parts[1], "minor", "Minor")
    rest, plus, build = parts[2].partition("+")
    patch, dash, prerelease = rest.partition("-")
    return Version(
        major,
        minor,
        _number(patch, "patch", "Patch"),
        tuple(_prerelease_identifier(word) for word in prerelease.split(".")) if dash else (),
        tuple(_build_identifier(word) for word in build.split(".")) if plus else (),
    )


def _number(text: str, name: str, title: str) -> int:
    if text and _NUMERIC.fullmatch(text) is None:
        raise VersionError(f'Invalid character(s) found in {name} number "{text}"')
    if len(text) > 1 and text[0] == "0":
        raise VersionError(f'{title} number must not contain leading zeroes "{text}"')
    return _uint64(text)


def _uint64(text: str) -> int:
    if not text:
        raise VersionError('strconv.ParseUint: parsing "": invalid syntax')
    if len(text) > 20 or int(text) > _MAX_UINT64:
        raise VersionError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def _prerelease_identifier(text: str) -> Identifier:
    if not text:
        raise VersionError("Prerelease is empty")
    if _NUMERIC.fullmatch(text) is not None:
        if len(text) > 1 and text[0] == "0":
            raise VersionError(f'Numeric PreRelease version must not contain leading zeroes "{text}"')
        return (0, _uint64(text), "")
    if _ALPHANUMERIC.fullmatch(text) is None:
        raise VersionError(f'Invalid character(s) found in prerelease "{text}"')
    return (1, 0, text)


def _build_identifier(text: str) -> str:
    if not text:
        raise VersionError("Build meta data is empty")
    if _ALPHANUMERIC.fullmatch(text) is None:
        raise VersionError(f'Invalid character(s) found in build meta data "{text}"')
    return text
