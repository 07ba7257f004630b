"""`python -m tests.simulation`: run seeds, replay one, plant defects. `--help` says how."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import repeat

import structlog

from tests.simulation.bugs import BUGS
from tests.simulation.run import Report, run_scenario
from tests.simulation.scenario import make_scenario
from tests.simulation.shrink import shrink

PROGRESS_SECONDS = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--trace", action="store_true", help="tell what happened")
    parser.add_argument("--shrink", action="store_true", help="make the first seed that fails small, and tell that one")
    parser.add_argument("--log", action="store_true", help="with the operator's own log")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant this defect")
    parser.add_argument("--bugs", action="store_true", help="plant each defect in turn until it is caught")
    given = parser.parse_args()
    _quiet(given.log)
    if given.bugs:
        return _plant_all(given.seeds, given.jobs)
    trouble: Counter[str] = Counter()
    writes: Counter[str] = Counter()
    failed: list[Report] = []
    pods = bound = 0
    seconds = virtual = 0.0
    numbers = range(given.seed, given.seed + given.seeds)
    for report in _progress(_run_all(numbers, given.bug, given.jobs, trace=given.trace), given.seeds):
        trouble += report.trouble
        writes += report.writes
        pods, bound = pods + report.pods, bound + report.bound
        seconds, virtual = seconds + report.cpu_seconds, virtual + report.seconds
        if given.trace:
            print(make_scenario(report.seed))
            print("\n".join(report.trace))
        if report.violation is not None:
            failed.append(report)
            print(f"seed {report.seed}: {report.violation}", flush=True)
    if failed and given.shrink:
        print(shrink(make_scenario(failed[0].seed), BUGS.get(given.bug)))
    print(
        f"{given.seeds} seeds, {len(failed)} with a violation; {pods} pods, {bound} bound; {virtual / 3600:.1f} hours "
        f"in {seconds:.1f} CPU seconds ({given.seeds / max(seconds, 1e-9):.1f} seeds a CPU second)"
    )
    for name, counted in (("faults and meddling", trouble), ("writes", writes)):
        print(f"{name}: " + ", ".join(f"{key} {number}" for key, number in sorted(counted.items())))
    if failed:
        print(f"replay: PYTHONHASHSEED=0 python -m tests.simulation --seed {failed[0].seed} --shrink")
    return 1 if failed else 0


def _quiet(log: bool) -> None:
    level = logging.DEBUG if log else logging.CRITICAL
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


def _run(seed: int, bug: str | None, *, trace: bool = False) -> Report:
    started = time.process_time()
    report = run_scenario(make_scenario(seed), BUGS[bug] if bug else None, trace=trace)
    return report._replace(cpu_seconds=time.process_time() - started)


def _run_all(seeds: Iterable[int], bug: str | None, jobs: int, *, trace: bool) -> Iterator[Report]:
    """The seeds in their order."""
    if jobs == 1:
        yield from (_run(seed, bug, trace=trace) for seed in seeds)
        return
    with ProcessPoolExecutor(jobs, initializer=_quiet, initargs=(False,)) as pool:
        yield from pool.map(partial(_run, trace=trace), seeds, repeat(bug), chunksize=4)


def _progress(reports: Iterator[Report], of: int) -> Iterator[Report]:
    told = time.monotonic()
    for number, report in enumerate(reports, start=1):
        yield report
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            print(f"{number} of {of} seeds", file=sys.stderr, flush=True)


def _plant_all(seeds: int, jobs: int) -> int:
    """Each defect is to be caught within so many seeds."""
    missed = 0
    with ProcessPoolExecutor(jobs, initializer=_quiet, initargs=(False,)) as pool:
        for name, report in zip(BUGS, pool.map(_find, BUGS, repeat(seeds)), strict=True):
            missed += report is None
            if report is None:
                print(f"MISSED  {name}: not caught in {seeds} seeds", flush=True)
            else:
                print(f"caught  {name}: by seed {report.seed}: {report.violation}", flush=True)
    print(f"{len(BUGS)} defects planted, {missed} missed")
    return 1 if missed else 0


def _find(bug: str, seeds: int) -> Report | None:
    reports = (_run(seed, bug) for seed in range(seeds))
    return next((report for report in reports if report.violation is not None), None)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of strings are gone through in another order each time
        again = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "PYTHONHASHSEED": "0"})
    sys.exit(main())
