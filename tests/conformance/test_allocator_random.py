"""The allocator decides as upstream's does on random cases: every node, no exceptions.

`allocator_random.jsonl.gz` is a spread of them: every fifth, all that are sensitive to upstream's order, and more of
those with gates off. All features of the structured allocator are implemented, so nothing is left out; the counts
below say how much was looked at. More cases: `make conformance VECTORS=DIR`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from dra_operator.allocation.outcome import AllocationError, Unschedulable
from dra_operator.allocation.stepwise import finish
from dra_operator.allocation.strategy import Strategy
from dra_operator.api.codec import convert
from dra_operator.api.core import Node
from dra_operator.api.resource import ResourceClaim
from tests.conformance.allocator_vectors import Verdict, allocator_of, cases, run_case

CASES = Path(__file__).parent / "data" / "allocator_random.jsonl.gz"

OUTCOMES = {"allocated": 916, "unschedulable": 673, "error": 240}


@pytest.fixture(scope="module")
def verdicts() -> list[tuple[str, Verdict]]:
    return [(case["id"], verdict) for case in cases(CASES) for verdict in run_case(case).nodes]


def test_every_node_gets_upstreams_outcome(verdicts: list[tuple[str, Verdict]]) -> None:
    assert [(id_, *verdict.faults) for id_, verdict in verdicts if verdict.wanted != verdict.got] == []
    assert Counter(verdict.wanted for _, verdict in verdicts) == OUTCOMES


def test_every_allocation_is_right(verdicts: list[tuple[str, Verdict]]) -> None:
    assert [(id_, verdict.node, verdict.problems) for id_, verdict in verdicts if verdict.problems] == []


def test_first_found_order_gives_the_same_devices(verdicts: list[tuple[str, Verdict]]) -> None:
    assert [(id_, v.node) for id_, v in verdicts if v.got == "allocated" and not v.same_devices] == []


def test_best_fit_differs_only_where_upstreams_own_order_decides() -> None:
    """Other devices, the same outcomes and alternatives; every allocation is checked like one of the first found."""
    differ = [
        (case["id"], *verdict.faults)
        for case in cases(CASES)
        for verdict in run_case(case, allocator_of(case, Strategy.BEST_FIT)).nodes
        if not verdict.agrees and not verdict.order_sensitive
    ]

    assert differ == []


def test_a_node_that_is_refused_without_a_search_has_nothing_for_one() -> None:
    """And no error: a search without the shortcut says the same. Most refusals take the shortcut."""
    refused: list[object] = []
    for case in cases(CASES):
        allocator = allocator_of(case)
        plan = allocator.plan([convert(claim, ResourceClaim) for claim in case["claims"]])
        if isinstance(plan, AllocationError):
            continue
        nodes = [convert(node, Node) for node in case["nodes"]]
        refused += [finish(plan.allocating(node, rank=())) for node in nodes if plan.rank(node) is None]

    assert [outcome for outcome in refused if not isinstance(outcome, Unschedulable)] == []
    assert len(refused) > OUTCOMES["unschedulable"] // 2
