"""`make bench-core`: our decisions beside those of kube-scheduler's library, on the same inventories, in one run.

One row for each size of cluster, share of GPUs in use and request. Ours: a decision in a cluster in which claims come
and go (`core.py`), medians once every node is known; `cold` is the very first pod of its kind. Theirs (`tools/oracle`):
a new allocator for each pod, and nodes until the first is feasible, or until as many are as kube-scheduler wants to
score; nothing changes between two decisions, and what is in use is at hand. The ratio is their first feasible node's
median by our median.

The exit status is 1 if a row of 1,000 nodes or more is below 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from dra_operator.api.codec import to_plain
from dra_operator.api.resource import ResourceClaim, ResourceSlice
from tests.oracle import Oracle
from tests.perf.core import Bench, Timing
from tests.perf.events import measure_events
from tests.perf.inventories import ASKS, World, inventory

Json = Any

SIZES: Final = (100, 1_000, 5_000)
USED: Final = (0, 50, 90, 99)
RUNS: Final = 200
FLOOR_FROM: Final = 1_000
_HEADER: Final = (
    f"{'request':15} {'nodes':>5} {'used':>4} | {'ours':>8} {'p99':>8} {'cold':>8} {'fits':>4} | "
    f"{'first':>8} {'p99':>8} {'asked':>6} | {'enough':>8} {'p99':>8} | {'ratio':>7}"
)


@dataclass(frozen=True)
class Row:
    """One line of the table; theirs is as the oracle answers."""

    name: str
    nodes: int
    used: int
    ours: Timing
    first: Json
    enough: Json

    @property
    def ratio(self) -> float:
        return float(self.first["medianNs"]) / 1e9 / self.ours.median

    @property
    def label(self) -> str:
        return f"{self.name}@{self.nodes}/{self.used}%"

    def __str__(self) -> str:
        ours, first, enough = self.ours, self.first, self.enough
        if error := first.get("error") or enough.get("error"):
            sys.exit(f"{self.label}: the library says {error}")
        return (
            f"{self.name:15} {self.nodes:5} {self.used:3}% | {_ms(ours.median)} {_ms(ours.p99)} {_ms(ours.cold)} "
            f"{ours.fits:4.0%} | {_ms(first['medianNs'] / 1e9)} {_ms(first['p99Ns'] / 1e9)} {first['nodes']:6.0f} | "
            f"{_ms(enough['medianNs'] / 1e9)} {_ms(enough['p99Ns'] / 1e9)} | {self.ratio:7.1f}"
        )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:8.3f}"


def measure(sizes: tuple[int, ...], used: tuple[int, ...], names: tuple[str, ...], seconds: float) -> Iterator[Row]:
    """The rows, as they are measured."""
    with Oracle("bench") as oracle:
        for size in sizes:
            for kind in dict.fromkeys(ASKS[name].kind for name in names):
                for share in used:
                    world = inventory(kind, size, share)
                    of_kind = [name for name in names if ASKS[name].kind == kind]
                    ours = {
                        name: Bench(world).measure(ASKS[name].claims, runs=RUNS, seconds=seconds) for name in of_kind
                    }
                    theirs = oracle.ask(question(world, of_kind, seconds))
                    for pod in theirs["pods"]:
                        yield Row(pod["name"], size, share, ours[pod["name"]], pod["firstFeasible"], pod["enough"])


def question(world: World, names: list[str], seconds: float) -> Json:
    """The world as the oracle reads it."""
    return {
        "id": world.id,
        "deviceClasses": to_plain(list(world.classes.values())),
        "resourceSlices": [_slice(slice_) for slice_ in world.slices],
        "allocatedClaims": [_claim(claim) for claim in world.allocated],
        "nodes": to_plain(list(world.nodes.values())),
        "pods": [{"name": name, "claims": [_claim(claim) for claim in ASKS[name].claims]} for name in names],
        "runs": RUNS,
        "seconds": seconds,
    }


def _slice(slice_: ResourceSlice) -> Json:
    """With the count that the API server would have on it."""
    plain = to_plain(slice_)
    plain["spec"]["pool"]["resourceSliceCount"] = slice_.spec.pool.resource_slice_count
    return plain


def _claim(claim: ResourceClaim) -> Json:
    """With the defaults that the API server fills in."""
    plain = to_plain(claim)
    for request in plain["spec"]["devices"].get("requests", ()):
        for ask in (request.get("exactly"), *request.get("firstAvailable", ())):
            if ask is not None and ask.setdefault("allocationMode", "ExactCount") == "ExactCount":
                ask.setdefault("count", 1)
    return plain


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.perf", description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of nodes")
    parser.add_argument("--used", type=int, nargs="+", default=USED, help="percent of GPUs in use")
    parser.add_argument("--requests", nargs="+", choices=tuple(ASKS), default=tuple(ASKS))
    parser.add_argument("--seconds", type=float, default=1.0, help="for each measurement, at most")
    given = parser.parse_args()
    print("milliseconds per pod; ours | kube-scheduler's library until the first feasible node | until enough")
    print(_HEADER, flush=True)
    rows: list[Row] = []
    for row in measure(tuple(given.sizes), tuple(given.used), tuple(given.requests), given.seconds):
        rows.append(row)
        print(row, flush=True)
    for name, event in measure_events(max(given.sizes)).items():
        print(f"{name} at {max(given.sizes)} nodes: {event.median * 1e6:.1f} µs (p99 {event.p99 * 1e6:.1f} µs)")
    slow = [row for row in rows if row.nodes >= FLOOR_FROM and row.ratio < 1]
    for row in slow:
        print(f"below 1: {row.label} {row.ratio:.2f}")
    worst = min(rows, key=lambda row: row.ratio)
    largest = [row.ratio for row in rows if row.name == "simple" and row.nodes == max(given.sizes)]
    simple = f"{min(largest):.1f}" if largest else "not measured"
    print(f"worst ratio {worst.ratio:.1f} at {worst.label}, simple@{max(given.sizes)} ratio {simple}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
