"""`python -m tests.simulation --seed N [--bug NAME]`: replay a seed, or run many with --seeds."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter

import structlog

from tests.simulation.bugs import BUGS
from tests.simulation.run import run_seed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant this defect")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    given = parser.parse_args()
    trouble: Counter[str] = Counter()
    writes: Counter[str] = Counter()
    bad = 0
    for seed in range(given.seed, given.seed + given.seeds):
        report = run_seed(seed, BUGS[given.bug] if given.bug else None)
        trouble += report.trouble
        writes += report.writes
        if report.violation is not None:
            bad += 1
            print(f"seed {seed}: {report.violation}")
    print(f"{given.seeds} seeds, {bad} with a violation")
    for name, counted in (("faults", trouble), ("writes", writes)):
        print(f"{name}: " + ", ".join(f"{key} {number}" for key, number in sorted(counted.items())))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
