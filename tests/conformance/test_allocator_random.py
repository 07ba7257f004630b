"""The allocator decides as upstream's does, on upstream's own cases and on random ones: every node, no exceptions.

`allocator_upstream.jsonl.gz` is every second case of upstream's test table, `allocator_random.jsonl.gz` a spread of
random cases: every fifth, all that are sensitive to upstream's order, and more of those with gates off. All features
of the structured allocator are implemented, so nothing is left out; the counts below say how much was looked at.

More cases: `python -m tests.conformance.allocator_vectors FILE...`
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.conformance.allocator_vectors import Verdict, run

DATA = Path(__file__).parent / "data"

OUTCOMES = {
    "allocator_upstream.jsonl.gz": {"allocated": 94, "unschedulable": 33, "error": 13},
    "allocator_random.jsonl.gz": {"allocated": 916, "unschedulable": 673, "error": 240},
}


@pytest.fixture(scope="module", params=OUTCOMES)
def file(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def verdicts(file: str) -> list[Verdict]:
    return list(run(DATA / file))


def test_every_node_gets_upstreams_outcome(file: str, verdicts: list[Verdict]) -> None:
    differ = [
        f"{verdict.id} {verdict.node}: upstream {verdict.wanted}, ours {verdict.got}: {verdict.message}"
        for verdict in verdicts
        if verdict.wanted != verdict.got
    ]

    assert differ == []
    assert Counter(verdict.wanted for verdict in verdicts) == OUTCOMES[file]


def test_every_allocation_is_right(verdicts: list[Verdict]) -> None:
    assert [f"{verdict.id} {verdict.node}: {verdict.problems}" for verdict in verdicts if verdict.problems] == []


def test_first_found_order_gives_the_same_devices(verdicts: list[Verdict]) -> None:
    others = [
        f"{verdict.id} {verdict.node}"
        for verdict in verdicts
        if verdict.got == "allocated" and not verdict.same_devices
    ]

    assert others == []
