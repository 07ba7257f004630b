"""The operator against a cluster that fails in every way we could think of: what must always hold, holds.

A seed that fails prints the command that replays it.
"""

from __future__ import annotations

import logging
from collections import Counter

import pytest
import structlog

from tests.simulation.bugs import BUGS
from tests.simulation.run import run_seed

SEEDS = 200
BATCH = 20
SEEDS_FOR_A_BUG = 120


@pytest.fixture(autouse=True)
def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_invariant_is_violated(first: int) -> None:
    trouble: Counter[str] = Counter()
    writes: Counter[str] = Counter()
    violations = []
    for seed in range(first, first + BATCH):
        report = run_seed(seed)
        trouble += report.trouble
        writes += report.writes
        if report.violation is not None:
            violations.append(f"{report.violation}\n  replay: python -m tests.simulation --seed {seed}")
    print("faults:", ", ".join(f"{kind} {count}" for kind, count in sorted(trouble.items())))
    assert not violations, "\n".join(violations)
    assert {"crash before a write", "crash after a write", "answer lost", "pod replaced"} <= trouble.keys()
    assert writes["Ungate Done"] > BATCH


def test_a_seed_replays_exactly() -> None:
    assert run_seed(7) == run_seed(7)


@pytest.mark.parametrize("bug", sorted(BUGS))
def test_a_planted_bug_is_caught(bug: str) -> None:
    caught = next((seed for seed in range(SEEDS_FOR_A_BUG) if run_seed(seed, BUGS[bug]).violation is not None), None)
    assert caught is not None, f"{bug} was not caught in {SEEDS_FOR_A_BUG} seeds"
    assert run_seed(caught).violation is None, "the seed fails without the bug, too"
