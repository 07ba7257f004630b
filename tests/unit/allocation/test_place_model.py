"""Placing with what is remembered about nodes gives what placing without any memory gives, whatever happens between.

Random histories on a few nodes: pods are placed, claims given back, slices published anew with a taint or another
count, nodes cordoned, relabelled, removed and added. After each step every ask is decided twice.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from dra_operator.allocation.allocator import Allocator
from dra_operator.allocation.place import Decision, Placement, place
from dra_operator.allocation.refusals import Refusals
from dra_operator.allocation.sites import Sites
from dra_operator.allocation.strategy import Strategy
from dra_operator.api.core import Node
from dra_operator.api.meta import Uid
from dra_operator.api.resource import ResourceClaim
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from tests.builders import (
    claim,
    classes,
    device,
    exactly,
    first_available,
    match_attribute,
    need,
    node,
    pod,
    request,
    selector,
    slice_of,
    taint,
    term,
)

NUMA = "gpu.example.com/numa"
ON_NUMA = "device.attributes['gpu.example.com'].numa == {}"
ASKS: dict[str, ResourceClaim] = {
    "one": claim(),
    "three": claim(request(count=3)),
    "two on a socket": claim(request(count=2), constraints=[match_attribute(NUMA)]),
    "socket 1": claim(request("gpu", ON_NUMA.format(1))),
    "three or one": claim(first_available(three=exactly(count=3), one=exactly())),
    "all": claim(request(mode="All")),
    "admin": claim(request(count=2, admin=True)),
}
NODES = ("a", "b", "c", "d")

steps = st.lists(
    st.one_of(
        st.tuples(st.just("place"), st.sampled_from(sorted(ASKS)), st.integers(0, 3)),
        st.tuples(st.just("release"), st.integers(0, 20), st.just(0)),
        st.tuples(st.just("publish"), st.sampled_from(NODES), st.integers(0, 5)),
        st.tuples(st.just("withdraw"), st.sampled_from(NODES), st.just(0)),
        st.tuples(st.just("share"), st.booleans(), st.integers(0, 2)),
        st.tuples(st.just("node"), st.sampled_from(NODES), st.integers(0, 3)),
    ),
    max_size=30,
)


class Cluster:
    """What happens in a history, and two ways to ask about it."""

    def __init__(self, strategy: Strategy) -> None:
        self.inventory, self.ledger = Inventory(), Ledger()
        self.nodes: dict[str, Node] = {}
        self.held: list[Uid] = []
        self.remembers = Allocator(self.inventory, self.ledger, classes(), strategy=strategy)
        for name in NODES:
            self.publish(name, 0)
            self.node(name, 1)

    def publish(self, name: str, variant: int) -> None:
        gpus = [
            device(f"gpu-{i}", attributes={"numa": i % 2}, taints=[taint()] if variant == 5 and i == 0 else ())
            for i in range(4 - variant % 4)
        ]
        self.inventory.apply_slice(slice_of(gpus, node=name, name=f"slice-{name}", count=1 + (variant == 4)))

    def share(self, published: bool, variant: int) -> None:
        """A pool that is no node's own."""
        if not published:
            self.inventory.remove_slice("shared")
            return
        gpus = [device(f"net-{i}", attributes={"numa": 1}) for i in range(1 + variant)]
        where = selector(term(need("zone", "In", "1"))) if variant else None
        self.inventory.apply_slice(slice_of(gpus, all_nodes=not variant, node_selector=where, name="shared"))

    def node(self, name: str, variant: int) -> None:
        if variant == 0:
            self.nodes.pop(name, None)
        else:
            self.nodes[name] = node(name, cordoned=variant == 2, labels={"zone": "1"} if variant == 3 else None)

    def place(self, ask: str) -> None:
        decision = self.decide(self.remembers, ask)
        if isinstance(decision, Placement):
            uid = Uid(f"claim-{len(self.held)}")
            self.held.append(uid)
            self.ledger.assume(uid, decision.allocations[0])

    def decide(self, allocator: Allocator, ask: str) -> Decision:
        return place(pod(), [ASKS[ask]], nodes=self.nodes, usage={}, allocator=allocator)


@settings(max_examples=120)
@given(st.sampled_from(Strategy), steps)
def test_memory_changes_no_decision(strategy: Strategy, history: list[tuple[str, str | int | bool, int]]) -> None:
    cluster = Cluster(strategy)
    for verb, what, variant in history:
        match verb:
            case "place":
                cluster.place(str(what))
            case "release":
                if cluster.held:
                    cluster.ledger.forget_assumed(cluster.held[int(what) % len(cluster.held)])
            case "publish":
                cluster.publish(str(what), variant)
            case "withdraw":
                cluster.inventory.remove_slice(f"slice-{what}")
            case "share":
                cluster.share(bool(what), variant)
            case _:
                cluster.node(str(what), variant)
        for ask in ASKS:
            forgetful = replace(cluster.remembers, refusals=Refusals(), sites=Sites())

            assert cluster.decide(cluster.remembers, ask) == cluster.decide(forgetful, ask)
