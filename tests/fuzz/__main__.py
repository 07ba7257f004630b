"""`make fuzz`: generated cases, answered by kube-scheduler's library and by ours, compared.

    python -m tests.fuzz [--seeds N] [--start SEED] [--seed SEED] [--keep FOLDER]

Prints, for each feature, the share of cases that use it and what became of their nodes. Fails if anything differs (the
case is made small and kept, see `data/`), or if a run of some length hardly uses a feature.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.fuzz import features
from tests.fuzz.cases import make_case
from tests.fuzz.compare import differences, gave_up
from tests.fuzz.shrink import shrink
from tests.oracle import Oracle

Json = Any

FOUND: Final = Path(__file__).parent / "data"
OUTCOMES: Final = ("allocated", "unschedulable", "error")
LEAST_SHARE: Final = 0.02
_ENOUGH: Final = 5000
"""Cases, below which a feature may be missing by chance."""
_SECONDS: Final = 0.3
"""For the library's search on one node."""
_BATCH: Final = 250
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

    def lines(self) -> Iterator[str]:
        yield f"{'feature':34}{'cases':>7}" + "".join(f"{outcome:>15}" for outcome in OUTCOMES)
        for feature in features.ALL:
            total = sum(self.outcomes[feature, outcome] for outcome in OUTCOMES) or 1
            shares = "".join(f"{self.outcomes[feature, outcome] / total:15.1%}" for outcome in OUTCOMES)
            yield f"{feature:34}{self.share(feature):7.1%}{shares}"
        yield ", ".join(f"{kind} {count}" for kind, count in sorted(self.nodes.items()))

    def share(self, feature: str) -> float:
        return self.uses[feature] / self.cases

    def rare(self) -> list[str]:
        return [feature for feature in features.ALL if self.share(feature) < LEAST_SHARE]


def answered(oracle: Oracle, seeds: range) -> Iterator[Json]:
    """The cases of the seeds, with the library's answers."""
    for first in range(seeds.start, seeds.stop, _BATCH):
        batch = [make_case(seed) for seed in range(first, min(first + _BATCH, seeds.stop))]
        for case, answer in oracle.ask_all({**case, "seconds": _SECONDS} for case in batch):
            del case["seconds"]
            yield {**case, "want": answer["want"]}


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


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, metavar="N", help="how many cases")
    parser.add_argument("--start", type=int, default=0, metavar="SEED", help="the first one's seed")
    parser.add_argument("--seed", type=int, metavar="SEED", help="one case only, printed with its answers")
    parser.add_argument("--keep", type=Path, default=FOUND, metavar="FOLDER", help="where small cases that differ go")
    options = parser.parse_args()
    seeds = range(options.start, options.start + options.seeds)
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
    report, differing, begin = Report(), 0, time.monotonic()
    with Oracle("allocate") as oracle, Oracle("allocate") as second:
        for case in answered(oracle, seeds):
            report.add(case)
            if options.seed is not None:
                print(json.dumps(case, indent=1))
            lines = differences(case)
            if lines:
                differing += 1
                print(*lines, sep="\n", flush=True)
                if differing <= _SHRUNK:
                    print(f"  made small: {keep(options.keep, make_small(second, case))}", flush=True)
    print(*report.lines(), sep="\n")
    rare = report.rare() if report.cases >= _ENOUGH else []
    if rare:
        print(f"used by less than {LEAST_SHARE:.0%} of the cases: {', '.join(rare)}")
    seconds = time.monotonic() - begin
    print(f"{report.cases} cases, {differing} differences, {seconds:.0f} s")
    return 1 if differing or rare else 0


if __name__ == "__main__":
    sys.exit(main())
