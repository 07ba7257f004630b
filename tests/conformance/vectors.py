"""Golden vectors on disk: which files of a folder hold some, and what is in them.

A vector file is named `cel_*` or `allocator_*` and ends in `.jsonl` (an object a line) or `.json` (a list of objects),
gzipped or not. `read()` gives each object with a name for its place. What cannot be read is `Broken` in its place, so
that one bad line hides no other: nothing here raises because of what a file holds.

Not here: what an object means (`cel_vectors`, `allocator_vectors`).
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Json = Any
V = TypeVar("V")

_NAMES = re.compile(r"(cel|allocator)_.*\.jsonl?(\.gz)?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a file."""

    place: str
    value: Json


@dataclass(frozen=True, slots=True)
class Broken:
    """A place of a file, or a vector, where no question can be found."""

    id: str
    reason: str

    @property
    def faults(self) -> tuple[str, ...]:
        return (self.reason,)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A vector that is not asked, and why."""

    id: str
    reason: str


class NoVectorError(ValueError):
    """What was read is not a vector; says what is missing."""


def find_files(folder: Path) -> list[Path]:
    """The folder's vector files, by name. Raises OSError."""
    return sorted(path for path in folder.iterdir() if _NAMES.fullmatch(path.name) and path.is_file())


def read(path: Path) -> Iterator[Entry | Broken]:
    """What a vector file holds."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            if ".json" in path.suffixes:
                yield from _read_list(file.read())
                return
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _decode(f"line {number}", line)
    except (OSError, EOFError, zlib.error) as error:
        yield Broken(f"line {number + 1}", f"the file cannot be read on from here: {error}")


def judge(rule: Callable[[Json], V], vector: Json, id_: str) -> V | Broken:
    """What the rule says of a vector. Whatever that raises is the vector's own failure: it must not hide the others."""
    try:
        return rule(vector)
    except NoVectorError as error:
        return Broken(id_, f"no vector: {error}")
    except Exception as error:  # noqa: BLE001
        return Broken(id_, f"ended by {type(error).__name__}: {error}")


def field(value: Json, name: str, type_: type | tuple[type, ...]) -> Json:
    """A field that a vector must have. Raises NoVectorError."""
    if not isinstance(value, dict):
        raise NoVectorError(f"an object is needed, not {_shown(value)}")
    if name not in value:
        raise NoVectorError(f'the field "{name}" is missing')
    if not isinstance(value[name], type_):
        raise NoVectorError(f'the field "{name}" cannot be {_shown(value[name])}')
    return value[name]


def _read_list(text: bytes) -> Iterator[Entry | Broken]:
    whole = _decode("the file", text)
    if isinstance(whole, Broken):
        yield whole
    elif not isinstance(whole.value, list):
        yield Broken(whole.place, f"a list of vectors is needed, not {_shown(whole.value)}")
    else:
        for number, value in enumerate(whole.value, start=1):
            yield Entry(f"item {number}", value)


def _decode(place: str, text: bytes) -> Entry | Broken:
    try:
        return Entry(place, json.loads(text.decode("utf-8-sig")))
    except (ValueError, RecursionError) as error:
        return Broken(place, f"no JSON: {error}")


def _shown(value: Json) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
