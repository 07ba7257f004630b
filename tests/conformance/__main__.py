"""Runs every golden vector of a folder against the core: `make conformance VECTORS=DIR [LIMIT=20]`.

For each file: how many vectors agree, and those that do not with what was wanted and what came. A vector is one
selector, one case of upstream's CEL table, or one allocator case, which agrees if it does on all of its nodes. What
cannot be read counts as a vector that does not agree.

Exit status: 0 if all agree, 1 if not, 2 if there is no vector.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from tests.conformance import allocator_vectors, cel_vectors
from tests.conformance.vectors import LeftOut, find_files

ALL_AGREE, SOME_DIFFER, NO_VECTOR = 0, 1, 2
LIMIT = 20


class Answer(Protocol):
    """What came of a vector."""

    @property
    def id(self) -> str: ...

    @property
    def faults(self) -> tuple[str, ...]: ...


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    folder = _resolve(options.folder, options.near)
    if folder is None:
        print(f"conformance: there is no folder {options.folder}", file=sys.stderr)
        return NO_VECTOR
    passed, total = 0, 0
    for path in find_files(folder):
        agree, count = _report(path.name, answers(path), options.limit)
        passed, total = passed + agree, total + count
    if not total:
        print(f"conformance: no vector in {folder}: no cel_* or allocator_* file (.jsonl or .json, also .gz) has any")
    print(f"conformance: {passed} of {total}")
    return NO_VECTOR if not total else ALL_AGREE if passed == total else SOME_DIFFER


def answers(path: Path) -> Iterator[Answer | LeftOut]:
    """What comes of each vector of a file."""
    return cel_vectors.run(path) if path.name.startswith("cel_") else allocator_vectors.run(path)


def _report(name: str, given: Iterable[Answer | LeftOut], limit: int) -> tuple[int, int]:
    total = 0
    differ: list[Answer] = []
    left_out: list[LeftOut] = []
    for answer in given:
        if isinstance(answer, LeftOut):
            left_out.append(answer)
            continue
        total += 1
        if answer.faults:
            differ.append(answer)
    print(f"{name}: passed {total - len(differ)} of {total}")
    for vector in left_out:
        print(f"  left out {vector.id}: {vector.reason}")
    for answer in differ[:limit]:
        for fault in answer.faults:
            print(f"  {answer.id}: {fault}")
    if len(differ) > limit:
        print(f"  and {len(differ) - limit} more (LIMIT={len(differ)} shows all)")
    sys.stdout.flush()
    return total - len(differ), total


def _resolve(folder: Path, near: Path | None) -> Path | None:
    """The folder as its caller sees it, who may not stand where make runs (`make -C`)."""
    places = (folder, near / folder) if near else (folder,)
    return next((place for place in places if place.is_dir()), None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make conformance VECTORS=DIR [LIMIT=N], or python -m tests.conformance",
        description="Run every golden vector of a folder against the core.",
    )
    parser.add_argument("folder", type=_folder, help="where cel_* and allocator_* files are")
    parser.add_argument("--limit", type=_number, default=LIMIT, help="failing vectors shown for a file (default: 20)")
    parser.add_argument("--near", type=Path, help="where to look for the folder too, if it is relative")
    return parser


def _folder(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("name a folder: make conformance VECTORS=DIR")
    return Path(text.strip()).expanduser()


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"LIMIT is a number of vectors, not {text!r}")
    return int(text)


if __name__ == "__main__":
    # A vector may hold text that the terminal's encoding does not know, or that is no text at all.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main())
