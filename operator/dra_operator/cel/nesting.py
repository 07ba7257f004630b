"""Room for deep trees.

The parser allows 250 levels of each rule, as upstream. Walking such a tree takes several Python frames a level, more
than Python's default limit of 1000. Whoever walks a tree asks for room here, so that the answer does not depend on how
deep the caller's own stack happens to be. Python's own frames live on the heap since 3.11.

The limit is one for all threads: it is raised by the first that asks, and lowered by the last that has done.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dra_operator.cel.ast import Node, children

_FRAMES: Final = 12_000
_SHALLOW: Final = 60


class _Room:
    """Who is in it, and the limit outside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._outside = 0

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                self._outside = sys.getrecursionlimit()
                sys.setrecursionlimit(max(self._outside, _FRAMES))
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                sys.setrecursionlimit(self._outside)


_room: Final = _Room()


@contextmanager
def room_to_recurse() -> Iterator[None]:
    """Let trees of any permitted depth be walked."""
    _room.enter()
    try:
        yield
    finally:
        _room.leave()


def is_deep(root: Node) -> bool:
    """Whether walking the tree needs room."""
    level: list[Node] = [root]
    for _ in range(_SHALLOW):
        level = list({child.id: child for node in level for child in children(node)}.values())
        if not level:
            return False
    return True
