"""What our allocator makes of a case whose answers are known: everything that differs from them.

Stricter than the rule of the golden vectors: in `first` order the devices must be the same, too, for a new allocator
and for one with a past. Where the library gave up, after its time limit, there is nothing to compare with; ours is then
only checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conformance.allocator_vectors import ALLOCATED, Verdict, run_case
from tests.fuzz.history import aged

Json = Any


def differences(case: Json, *, history: int | None = None) -> list[str]:
    """One line for each node that differs. `history`: a seed for an allocator with a past."""
    allocator = None if history is None else aged(case, history)
    return [line for verdict in run_case(case, allocator).nodes for line in _differences(case, verdict)]


def gave_up(answer: Json) -> bool:
    """Whether the library ran out of time."""
    return "timed out trying to allocate devices" in answer.get("error", "")


def _differences(case: Json, verdict: Verdict) -> Iterator[str]:
    where = f"{case['id']} {verdict.node}"
    if gave_up(case["want"]["nodes"][verdict.node]):
        if verdict.problems:
            yield f"{where}: wrong: {'; '.join(verdict.problems)}"
    elif verdict.wanted != verdict.got:
        yield f"{where}: {verdict.wanted}, ours {verdict.got}{verdict.message}"
    elif verdict.problems:
        yield f"{where}: {'; '.join(verdict.problems)}"
    elif verdict.got == ALLOCATED and not verdict.same_devices:
        yield f"{where}: other devices"
