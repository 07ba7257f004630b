"""YAML and JSON text to plain values, each document with the place where it begins.

Written for text that nobody vouches for. The parser's events are put together here, without recursion, so that depth,
size and what aliases expand to are bounded before memory is spent; a mistake names file, line and column.

Scalars are read as the API server's tools read them: YAML 1.1's booleans, but times stay strings. A key that is given
twice is refused: whoever wrote it meant both.

Upstream: sigs.k8s.io/yaml. Not here: what a document means (`objects.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

MAX_BYTES: Final = 256 * 1024 * 1024
MAX_DEPTH: Final = 100
MAX_VALUES: Final = 10_000_000
"""Keys and values of one file, aliases counted as what they stand for."""
_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_RADIX = re.compile(r"[-+]?0(x[0-9a-fA-F_]+|o[0-7_]+|b[01_]+|[0-7_]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_NUMBER_MAX: Final = 400
"""Digits: more than any number has that JSON's readers take. Python refuses to convert 4,300 of them."""
_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}


class InputError(ValueError):
    """Input that cannot be used. One sentence: where, what, and how to go on."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file."""

    source: str
    """The file as the caller named it."""
    line: int
    content: Any

    @property
    def place(self) -> str:
        return f"{self.source}:{self.line}"


def read_documents(paths: Iterable[str | Path], *, recursive: bool = False) -> Iterator[Document]:
    """All documents of files and folders (their .yaml, .yml and .json), in order; `-` is stdin.

    Folders below a folder count only if `recursive`, as with kubectl. Raises `InputError`.
    """
    for path in paths:
        for file in _files(path, recursive):
            yield from parse_documents(_read(file), str(file))


def parse_documents(data: bytes, source: str) -> Iterator[Document]:
    """The documents that are not empty. Raises `InputError`."""
    if len(data) > MAX_BYTES:
        raise InputError(f"{source}: is larger than {MAX_BYTES // 1024 // 1024} MiB")
    if data[:1] in (b"{", b"["):
        try:
            yield Document(source, 1, msgspec.json.decode(data))
            return
        except (ValueError, msgspec.DecodeError, RecursionError):
            pass  # several documents, or YAML's flow style; if it is neither, the parser below tells where
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{source}:{line}: is not UTF-8 text (byte 0x{data[error.start]:02x})") from None
    yield from _Composer(source).documents(text)


def _files(path: str | Path, recursive: bool) -> list[str | Path]:
    if str(path) == "-":
        return ["-"]
    found = Path(path)
    if not found.exists():
        raise InputError(f"{path}: no such file or folder")
    if not found.is_dir():
        return [found]
    inside = found.rglob("*") if recursive else found.iterdir()
    files = sorted(file for file in inside if file.suffix in _SUFFIXES and file.is_file())
    if not files:
        raise InputError(f"{path}: the folder has no .yaml, .yml or .json file")
    return list(files)


def _read(file: str | Path) -> bytes:
    try:
        if file == "-":
            with open(0, "rb", closefd=False) as stdin:
                return stdin.read(MAX_BYTES + 1)
        if not Path(file).is_file():
            with Path(file).open("rb") as stream:  # a pipe: as `-f <(…)` gives
                return stream.read(MAX_BYTES + 1)
        if Path(file).stat().st_size > MAX_BYTES:
            raise InputError(f"{file}: is larger than {MAX_BYTES // 1024 // 1024} MiB")
        return Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from None


@dataclass(slots=True)
class _Open:
    """A collection that is not complete yet."""

    value: Any
    mark: Any
    anchor: str | None
    before: int
    """How many values there were when it began."""
    key: Any = None
    has_key: bool = False
    merges: list[Any] = field(default_factory=list)


_MERGE: Final = object()


class _Composer:
    """Puts the parser's events together."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._values = 0
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._open: list[_Open] = []
        self._root: Any = None

    def documents(self, text: str) -> Iterator[Document]:
        line = 1
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                if isinstance(event, yaml.DocumentStartEvent):
                    self._anchors.clear()
                    self._root = None
                    line = 0
                elif isinstance(event, yaml.DocumentEndEvent):
                    if self._root is not None:
                        yield Document(self._source, line, self._root)
                else:
                    line = line or (1 if event.start_mark is None else event.start_mark.line + 1)
                    self._take(event)
        except yaml.MarkedYAMLError as error:
            problem = " ".join(part for part in (error.context, error.problem) if part)
            raise self._mistake(error.problem_mark or error.context_mark, f"is no YAML: {problem}") from None
        except yaml.reader.ReaderError as error:
            raise InputError(f"{self._source}: is no YAML: character {error.character!r} is not allowed") from None

    def _take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._count(1, event)
            value = self._scalar(event)
            self._name(event.anchor, value, 1)
            self._put(value, event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if len(self._open) >= MAX_DEPTH:
                raise self._mistake(event.start_mark, f"is nested deeper than {MAX_DEPTH} levels")
            value = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._open.append(_Open(value, event.start_mark, event.anchor, self._values))
            self._count(1, event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            done = self._open.pop()
            for merged in done.merges:
                for key, value in merged.items():
                    done.value.setdefault(key, value)
            self._name(done.anchor, done.value, self._values - done.before)
            self._put(done.value, event)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._mistake(event.start_mark, f"the alias *{event.anchor} has no anchor that is complete")
            value, size = self._anchors[event.anchor]
            self._count(size, event)
            self._put(value, event)

    def _put(self, value: Any, event: Any) -> None:
        if not self._open:
            self._root = value
            return
        into = self._open[-1]
        if isinstance(into.value, list):
            into.value.append(value)
        elif not into.has_key:
            is_merge = isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]
            if isinstance(value, dict | list):
                raise self._mistake(event.start_mark, "a key has to be a scalar")
            key = _MERGE if is_merge else value if isinstance(value, str) else _as_key(event)
            if key is not _MERGE and key in into.value:
                raise self._mistake(event.start_mark, f"the key {key!r} is given twice")
            into.key, into.has_key = key, True
        else:
            if into.key is _MERGE:
                sources = value if isinstance(value, list) else [value]
                if not all(isinstance(one, dict) for one in sources):
                    raise self._mistake(event.start_mark, "what << merges has to be a mapping, or a list of them")
                into.merges.extend(sources)
            else:
                into.value[into.key] = value
            into.has_key = False

    def _scalar(self, event: Any) -> Any:
        is_plain = event.tag is None and event.implicit[0]
        if not is_plain and (event.tag in (None, "!", "tag:yaml.org,2002:str") or event.implicit[1]):
            return event.value
        if len(event.value) > _NUMBER_MAX and _is_number(event.value):
            raise self._mistake(event.start_mark, f"a number of more than {_NUMBER_MAX} digits")
        return _resolve(event.value)

    def _name(self, anchor: str | None, value: Any, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = value, size

    def _count(self, values: int, event: Any) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise self._mistake(event.start_mark, f"has more than {MAX_VALUES:,} values once its aliases are expanded")

    def _mistake(self, mark: Any, what: str) -> InputError:
        where = "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"
        return InputError(f"{self._source}{where}: {what}")


def _as_key(event: Any) -> str:
    """Keys are strings in the API: `1:` and `true:` keep their spelling."""
    text: str = event.value
    return text


def _is_number(text: str) -> bool:
    return any(form.fullmatch(text) for form in (_INT, _RADIX, _FLOAT))


@lru_cache(maxsize=4096)
def _resolve(text: str) -> Any:
    """The value of a plain scalar."""
    if text in _WORDS:
        return _WORDS[text]
    first = text[0]
    if not (first.isdigit() or first in "+-."):
        return text
    digits = text.replace("_", "")
    if _INT.fullmatch(text):
        return int(digits)
    if _RADIX.fullmatch(text):
        octal = digits.lstrip("+-")[1:].isdigit()
        return int(digits.replace("0", "0o", 1), 8) if octal else int(digits, 0)
    if _FLOAT.fullmatch(text) and any(sign in text for sign in ".eE"):
        return float(digits)
    return text
