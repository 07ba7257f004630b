"""Work that gives others their turn: a generator that yields now and then, and returns what it found out.

Who has nothing else to do drives it to its end at once.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]
"""What is done between two steps takes some tenths of a millisecond."""


def finish(steps: Steps[T]) -> T:
    """All steps, one after the other."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
