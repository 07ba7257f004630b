"""How many requests fit, by strategy: pods come and go, those that find nothing go away.

    python -m tests.perf.arrivals [--seeds 20] [--arrivals 3000]

A small cluster of three kinds of nodes with eight GPUs: small GPUs, large ones, and large ones in halves. Pods ask for
any GPU, for a large one, for a half, for four on one socket or for a whole node; they come faster than the cluster can
serve, and stay for a while. The same seed gives every strategy the same pods.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dra_operator.allocation.allocator import Allocator
from dra_operator.allocation.place import Placement, place
from dra_operator.allocation.strategy import Strategy
from dra_operator.api.core import Node
from dra_operator.api.meta import Uid
from dra_operator.api.resource import ResourceClaim, ResourceSlice
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from tests.builders import DRIVER, claim, classes, device, match_attribute, node, pod, request, slice_of

GPUS: Final = 8
_MEMORY: Final = f"device.capacity['{DRIVER}'].memory"
_LARGE: Final = f"{_MEMORY}.compareTo(quantity('80Gi')) >= 0"
_SOCKET: Final = f"{DRIVER}/socket"

PODS: Final[dict[str, tuple[int, ResourceClaim]]] = {
    "any GPU": (40, claim(request())),
    "a large GPU": (15, claim(request("gpu", _LARGE))),
    "a GPU of 40Gi": (20, claim(request("gpu", f"{_MEMORY}.compareTo(quantity('40Gi')) >= 0"))),
    "four on a socket": (15, claim(request("gpu", _LARGE, count=4), constraints=[match_attribute(_SOCKET)])),
    "a whole node": (10, claim(request("gpu", _LARGE, count=GPUS))),
}
"""How often of a hundred, and what."""


@dataclass(frozen=True)
class Served:
    """How many pods of each kind found devices, and how many came."""

    served: dict[str, int]
    came: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.served.values())

    @property
    def devices(self) -> int:
        """How many devices that is."""
        counts = {kind: asked.spec.devices.requests for kind, (_, asked) in PODS.items()}
        return sum(
            number * sum(one.exactly.count for one in counts[kind] or () if one.exactly is not None)
            for kind, number in self.served.items()
        )


def simulate(strategy: Strategy, *, seed: int, arrivals: int, nodes: int = 12) -> Served:
    """One history."""
    rng = random.Random(seed)
    inventory, ledger = Inventory(), Ledger()
    named: dict[str, Node] = {}
    for number in range(nodes):
        name = f"node-{number:02}"
        named[name] = node(name)
        for slice_ in (_small, _large, _halves)[number % 3](name):
            inventory.apply_slice(slice_)
    allocator = Allocator(inventory, ledger, classes(), strategy=strategy)
    served, came = dict.fromkeys(PODS, 0), dict.fromkeys(PODS, 0)
    ends: list[tuple[float, Uid]] = []
    now = 0.0
    for number in range(arrivals):
        now += rng.expovariate(1.0)
        kind = rng.choices(list(PODS), [weight for weight, _ in PODS.values()])[0]
        stays = rng.expovariate(1 / (4.0 * nodes))
        while ends and ends[0][0] <= now:
            ledger.forget_assumed(heapq.heappop(ends)[1])
        came[kind] += 1
        decision = place(pod(), [PODS[kind][1]], nodes=named, usage={}, allocator=allocator)
        if isinstance(decision, Placement):
            served[kind] += 1
            uid = Uid(f"claim-{number}")
            ledger.assume(uid, decision.allocations[0])
            heapq.heappush(ends, (now + stays, uid))
    return Served(served, came)


def _small(name: str) -> Iterator[ResourceSlice]:
    yield slice_of(
        [device(f"gpu-{i}", capacity={"memory": "24Gi"}, attributes={"socket": i // 4}) for i in range(GPUS)], node=name
    )


def _large(name: str) -> Iterator[ResourceSlice]:
    yield slice_of(
        [device(f"gpu-{i}", capacity={"memory": "80Gi"}, attributes={"socket": i // 4}) for i in range(GPUS)], node=name
    )


def _halves(name: str) -> Iterator[ResourceSlice]:
    """As drivers list them: the whole first, then its parts."""
    counters = {f"gpu-{i}": {"slot-0": "1", "slot-1": "1"} for i in range(GPUS)}
    yield slice_of(node=name, name=f"{name}-counters", count=2, counters=counters)
    yield slice_of(
        [
            device(
                f"gpu-{i}-{part}",
                capacity={"memory": memory},
                attributes={"socket": i // 4},
                consumes={f"gpu-{i}": {f"slot-{slot}": "1" for slot in slots}},
            )
            for i in range(GPUS)
            for part, memory, slots in (("whole", "80Gi", (0, 1)), ("half-0", "40Gi", (0,)), ("half-1", "40Gi", (1,)))
        ],
        node=name,
        name=f"{name}-devices",
        count=2,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.arrivals", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--arrivals", type=int, default=3_000)
    given = parser.parse_args()
    print(f"{'':10} {'pods':>6} {'devices':>8}  " + "  ".join(f"{kind:>17}" for kind in PODS))
    for strategy in Strategy:
        histories = [simulate(strategy, seed=seed, arrivals=given.arrivals) for seed in range(given.seeds)]
        came = {kind: sum(one.came[kind] for one in histories) for kind in PODS}
        served = {kind: sum(one.served[kind] for one in histories) for kind in PODS}
        total, devices = sum(served.values()), sum(one.devices for one in histories)
        shares = "  ".join(f"{served[kind] / came[kind]:>17.1%}" for kind in PODS)
        print(f"{strategy.value:10} {total / sum(came.values()):6.1%} {devices:8}  {shares}", flush=True)


if __name__ == "__main__":
    main()
