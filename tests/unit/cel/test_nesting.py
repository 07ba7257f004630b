"""Room to recurse is one for all threads: whoever leaves it takes it from nobody who is still inside."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from dra_operator.cel.nesting import room_to_recurse

OUTSIDE = 3_000


@pytest.fixture(autouse=True)
def _little_room() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(OUTSIDE)
    yield
    sys.setrecursionlimit(before)


def test_the_first_to_leave_does_not_lower_the_limit_for_the_second() -> None:
    first, second = room_to_recurse(), room_to_recurse()
    first.__enter__()
    second.__enter__()
    raised = sys.getrecursionlimit()

    first.__exit__(None, None, None)
    left_by_one = sys.getrecursionlimit()
    second.__exit__(None, None, None)

    assert OUTSIDE < raised == left_by_one
    assert sys.getrecursionlimit() == OUTSIDE
