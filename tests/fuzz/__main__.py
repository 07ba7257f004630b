"""`make fuzz`: generated cases, answered by kube-scheduler's library and by ours, compared.

    python -m tests.fuzz [--crossed] [--seeds N] [--start SEED] [--jobs N] [--seed SEED] [--keep FOLDER]

Prints, for each feature, the share of cases that use it and what became of their nodes. Fails if anything differs (the
case is made small and kept, see `data/`), or if a run of some length hardly uses a feature.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from tests.fuzz import features
from tests.fuzz.cases import make_case
from tests.fuzz.compare import compare, differences, gave_up
from tests.fuzz.crossed import make_crossed
from tests.fuzz.shrink import shrink
from tests.oracle import Oracle, find_oracle

Json = Any
Make = Callable[[int], Json]

FOUND: Final = Path(__file__).parent / "data"
OUTCOMES: Final = ("allocated", "unschedulable", "error")
LEAST_SHARE: Final = 0.02
MOST_GIVEN_UP: Final = 0.002
"""The library's search goes on for longer than our budget of steps lasts."""
_ENOUGH: Final = 5000
"""Cases, below which a feature may be missing by chance."""
_SECONDS: Final = 0.3
"""For the library's search on one node."""
_BATCH: Final = 100
_SHRUNK: Final = 10
"""Differences that are made small; where there are more, they have few causes."""


class Report:
    """What the cases were about."""

    def __init__(self) -> None:
        self.cases = 0
        self.nodes: Counter[str] = Counter()
        self.uses: Counter[str] = Counter()
        self.outcomes: Counter[tuple[str, str]] = Counter()

    def add(self, case: Json) -> None:
        self.cases += 1
        answers = case["want"]["nodes"].values()
        kinds = ["given up" if gave_up(answer) else answer["outcome"] for answer in answers]
        self.nodes.update(kinds)
        self.nodes["orderSensitive"] += sum(bool(answer.get("orderSensitive")) for answer in answers)
        for feature in features.used(case):
            self.uses[feature] += 1
            self.outcomes.update((feature, kind) for kind in kinds)

    def merge(self, other: Report) -> None:
        self.cases += other.cases
        self.nodes += other.nodes
        self.uses += other.uses
        self.outcomes += other.outcomes

    def lines(self) -> Iterator[str]:
        yield f"{'feature':34}{'cases':>7}" + "".join(f"{outcome:>15}" for outcome in OUTCOMES)
        for feature in features.ALL:
            total = sum(self.outcomes[feature, outcome] for outcome in OUTCOMES) or 1
            shares = "".join(f"{self.outcomes[feature, outcome] / total:15.1%}" for outcome in OUTCOMES)
            yield f"{feature:34}{self.share(feature):7.1%}{shares}"
        yield ", ".join(f"{kind} {count}" for kind, count in sorted(self.nodes.items()))

    def is_impatient(self) -> bool:
        """Whether our search gives up more often than now and then."""
        asked = sum(self.nodes[outcome] for outcome in OUTCOMES)
        return self.nodes["given up by us"] > max(1, asked * MOST_GIVEN_UP)

    def share(self, feature: str) -> float:
        return self.uses[feature] / self.cases

    def rare(self) -> list[str]:
        return [feature for feature in features.ALL if self.share(feature) < LEAST_SHARE]


def answered(oracle: Oracle, seeds: range, make: Make = make_case) -> Iterator[Json]:
    """The cases of the seeds, with the library's answers."""
    cases = map(make, seeds)
    for case, answer in oracle.ask_all({**case, "seconds": _SECONDS} for case in cases):
        del case["seconds"]
        yield {**case, "want": answer["want"]}


@dataclass
class Batch:
    """What came of some seeds."""

    report: Report
    differing: list[tuple[Json, list[str]]]
    """Cases, and how they differ."""


def run_batch(make: Make, seeds: range) -> Batch:
    """The work of one process."""
    batch = Batch(Report(), [])
    for case in answered(_own_oracle(), seeds, make):
        batch.report.add(case)
        found = compare(case)
        batch.report.nodes["given up by us"] += found.given_up
        if found.differences:
            batch.differing.append((case, found.differences))
    return batch


@cache
def _own_oracle() -> Oracle:
    """One for each process; it ends with it, when its input does."""
    return Oracle("allocate")


def run(seeds: range, jobs: int, make: Make) -> Iterator[Batch]:
    batches = [seeds[first : first + _BATCH] for first in range(0, len(seeds), _BATCH)]
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(partial(run_batch, make), batches)


def make_small(oracle: Oracle, case: Json) -> Json:
    """The smallest case found that differs as well."""

    def with_answer(small: Json) -> Json:
        return {**small, "want": oracle.ask({**small, "seconds": _SECONDS})["want"]}

    def differs(small: Json) -> bool:
        case = with_answer(small)
        return not any(answer["outcome"] == "panic" for answer in case["want"]["nodes"].values()) and bool(
            differences(case)
        )

    return with_answer(shrink(case, differs))


def keep(folder: Path, case: Json) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{case['id']}.json"
    file.write_text(json.dumps(case, indent=1) + "\n")
    return file


def show(seed: int, make: Make) -> int:
    """One case with its answers, and how ours differ."""
    with Oracle("allocate") as oracle:
        (case,) = answered(oracle, range(seed, seed + 1), make)
    print(json.dumps(case, indent=1))
    lines = differences(case)
    print(*lines, sep="\n")
    return 1 if lines else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, metavar="N", help="how many cases")
    parser.add_argument("--start", type=int, default=0, metavar="SEED", help="the first one's seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="how many processes")
    parser.add_argument("--seed", type=int, metavar="SEED", help="one case only, printed with its answers")
    parser.add_argument("--keep", type=Path, default=FOUND, metavar="FOLDER", help="where small cases that differ go")
    parser.add_argument(
        "--crossed", action="store_true", help="cases made of golden vectors, instead of generated ones"
    )
    options = parser.parse_args()
    make = make_crossed if options.crossed else make_case
    if options.seed is not None:
        return show(options.seed, make)
    find_oracle()  # built once, before the processes ask for it
    report, differing, begin = Report(), 0, time.monotonic()
    for batch in run(range(options.start, options.start + options.seeds), options.jobs, make):
        report.merge(batch.report)
        for case, lines in batch.differing:
            differing += 1
            print(*lines, sep="\n", flush=True)
            if differing <= _SHRUNK:
                print(f"  made small: {keep(options.keep, make_small(_own_oracle(), case))}", flush=True)
    print(*report.lines(), sep="\n")
    rare = report.rare() if report.cases >= _ENOUGH and not options.crossed else []
    if rare:
        print(f"used by less than {LEAST_SHARE:.0%} of the cases: {', '.join(rare)}")
    if report.is_impatient():
        print(f"our search was given up on more than {MOST_GIVEN_UP:.1%} of the nodes")
    seconds = time.monotonic() - begin
    print(f"{report.cases} cases, {differing} differences, {seconds:.0f} s")
    return 1 if differing or rare or report.is_impatient() else 0


if __name__ == "__main__":
    sys.exit(main())
