"""Best fit serves more than the first found: the same pods come to both, with fixed seeds."""

from __future__ import annotations

import pytest

from dra_operator.allocation.strategy import Strategy
from tests.perf.arrivals import simulate

SEEDS = (1, 2, 3)
ARRIVALS = 500


@pytest.fixture(scope="module")
def histories() -> dict[Strategy, list[int]]:
    """By strategy and seed, how many devices were given."""
    return {
        strategy: [simulate(strategy, seed=seed, arrivals=ARRIVALS).devices for seed in SEEDS]
        for strategy in (Strategy.BEST_FIT, Strategy.FIRST)
    }


def test_never_less(histories: dict[Strategy, list[int]]) -> None:
    pairs = zip(histories[Strategy.BEST_FIT], histories[Strategy.FIRST], strict=True)
    assert all(best >= first for best, first in pairs), histories


def test_more_altogether(histories: dict[Strategy, list[int]]) -> None:
    best, first = sum(histories[Strategy.BEST_FIT]), sum(histories[Strategy.FIRST])
    assert best > 1.03 * first, histories
