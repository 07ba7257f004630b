"""Room for deep trees.

The parser allows 250 levels of each rule, as upstream. Walking such a tree takes several Python frames a level, more
than Python's default limit of 1000. Whoever walks a tree asks for room here, so that the answer does not depend on how
deep the caller's own stack happens to be. Python's own frames live on the heap since 3.11.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dra_operator.cel.ast import Node, children

_FRAMES: Final = 12_000
_SHALLOW: Final = 60


@contextmanager
def room_to_recurse() -> Iterator[None]:
    """Let trees of any permitted depth be walked."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _FRAMES))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def is_deep(root: Node) -> bool:
    """Whether walking the tree needs room."""
    level: list[Node] = [root]
    for _ in range(_SHALLOW):
        level = list({child.id: child for node in level for child in children(node)}.values())
        if not level:
            return False
    return True
