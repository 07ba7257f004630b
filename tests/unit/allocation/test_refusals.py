"""What is remembered about nodes that had no devices, and what makes it forgotten."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from dra_operator.allocation.refusals import Memory, Refusals
from dra_operator.api.codec import encode
from dra_operator.api.core import Node, NodeSpec
from dra_operator.api.resource import ResourceClaim
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from tests.builders import allocated, claim, device, device_class, node, nodes, request, slice_of

CLASS = device_class()


def opened(memory: Memory[str]) -> tuple[str, ...]:
    """The nodes that would be tried, in order."""
    places = itertools.takewhile(lambda name: name is not None, map(memory.open, itertools.count()))
    return tuple(name for name in places if name is not None)


class Cluster:
    """Three nodes with a pool each; `recall` asks as `place` does."""

    def __init__(self) -> None:
        self.inventory, self.ledger = Inventory(), Ledger()
        self.nodes: dict[str, Node] = nodes("a", "b", "c")
        self.refusals: Refusals[str] = Refusals()
        for name in self.nodes:
            self.inventory.apply_slice(slice_of(gpus=2, node=name))

    def recall(self, of: ResourceClaim | None = None) -> Memory[str]:
        key = encode((of or claim()).spec)
        return self.refusals.recall(key, [CLASS], self.nodes, self.inventory, self.ledger)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_at_first_every_node_is_open_in_order_of_names(cluster: Cluster) -> None:
    assert opened(cluster.recall()) == ("a", "b", "c")


def test_a_node_that_refused_stays_closed_while_nothing_changes(cluster: Cluster) -> None:
    cluster.recall().refuse("a")

    assert opened(cluster.recall()) == ("b", "c")


def test_equal_claims_of_others_share_what_is_known(cluster: Cluster) -> None:
    cluster.recall(claim(name="mine")).refuse("a")

    assert opened(cluster.recall(claim(name="theirs", namespace="elsewhere"))) == ("b", "c")
    assert opened(cluster.recall(claim(request(count=2)))) == ("a", "b", "c")


def test_a_device_given_back_opens_the_node(cluster: Cluster) -> None:
    cluster.ledger.observe(allocated(claim(name="old"), "a/gpu-0"), live=True)
    cluster.recall().refuse("a")
    cluster.recall().refuse("b")

    cluster.ledger.observe(claim(name="old"), live=True)

    assert opened(cluster.recall()) == ("a", "c")


def test_a_device_taken_does_not_open_the_node_but_outdates_what_was_found(cluster: Cluster) -> None:
    memory = cluster.recall()
    memory.refuse("a")
    memory.explain("a", "two free")

    cluster.ledger.observe(allocated(claim(name="new"), "a/gpu-0"), live=True)

    assert opened(cluster.recall()) == ("b", "c")
    assert cluster.recall().unexplained() == ["a"]
    assert cluster.recall().findings == {}


def test_a_pool_published_anew_opens_its_node(cluster: Cluster) -> None:
    cluster.recall().refuse("a")
    cluster.recall().refuse("b")

    cluster.inventory.apply_slice(slice_of(gpus=3, node="a"))

    assert opened(cluster.recall()) == ("a", "c")


def test_a_pool_for_any_node_opens_all(cluster: Cluster) -> None:
    cluster.recall().refuse("a")

    cluster.inventory.apply_slice(slice_of([device()], all_nodes=True))

    assert opened(cluster.recall()) == ("a", "b", "c")


def test_nodes_come_and_go(cluster: Cluster) -> None:
    cluster.recall().refuse("a")
    cluster.recall().refuse("c")
    del cluster.nodes["a"]
    cluster.nodes["bb"] = node("bb")

    assert opened(cluster.recall()) == ("b", "bb")


def test_a_node_that_changes_its_labels_is_open_again(cluster: Cluster) -> None:
    cluster.recall().refuse("a")
    cluster.nodes["a"] = node("a", labels={"zone": "1"})

    assert opened(cluster.recall()) == ("a", "b", "c")


def test_a_heartbeat_or_a_cordon_changes_nothing_about_devices(cluster: Cluster) -> None:
    cluster.recall().refuse("a")
    cluster.nodes["a"] = msgspec.structs.replace(cluster.nodes["a"], spec=NodeSpec(unschedulable=True))

    assert opened(cluster.recall()) == ("b", "c")


def test_another_version_of_the_class_starts_anew(cluster: Cluster) -> None:
    cluster.recall().refuse("a")
    other = device_class("gpu", "true")

    memory = cluster.refusals.recall(encode(claim().spec), [other], cluster.nodes, cluster.inventory, cluster.ledger)

    assert opened(memory) == ("a", "b", "c")


def test_equal_findings_are_counted_together(cluster: Cluster) -> None:
    memory = cluster.recall()
    for name in ("a", "b", "c"):
        memory.refuse(name)
        memory.explain(name, "full")
    memory.explain("c", "tainted")

    assert memory.findings == {"full": 2, "tainted": 1}
    assert memory.unexplained() == []
