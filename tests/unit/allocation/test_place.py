"""Placing a pod: which node it gets, and what it is told when it gets none."""

from __future__ import annotations

import pytest

from dra_operator.allocation.allocator import Allocator
from dra_operator.allocation.nodefit import fits
from dra_operator.allocation.outcome import AllocationError, Unschedulable
from dra_operator.allocation.place import Decision, Placement, place, place_steps
from dra_operator.allocation.usage import NodeUsage
from dra_operator.api.core import Node, Pod
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import DeviceClass, ResourceClaim, ResourceSlice
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from tests.builders import (
    allocated,
    claim,
    classes,
    device,
    device_class,
    exactly,
    first_available,
    match_attribute,
    node,
    nodes,
    pod,
    request,
    slice_of,
    taint,
)

SECRET = "somebody-elses"
BIG = "device.capacity['gpu.example.com'].memory.compareTo(quantity('40Gi')) >= 0"


class Cluster:
    """Nodes with one pool of GPUs each, unless told otherwise."""

    def __init__(
        self, *slices: ResourceSlice, on: dict[str, Node] | None = None, of: DeviceClass | None = None
    ) -> None:
        self.inventory, self.ledger = Inventory(), Ledger()
        self.nodes = on if on is not None else nodes("node-a", "node-b", "node-c")
        self.usage: dict[str, NodeUsage] = {}
        for each in slices or [slice_of(gpus=2, node=name) for name in self.nodes]:
            self.inventory.apply_slice(each)
        self.allocator = Allocator(self.inventory, self.ledger, classes(of or device_class()))

    def use(self, *devices: str) -> None:
        for number, where in enumerate(devices):
            self.ledger.observe(allocated(claim(name=f"{SECRET}-{number}"), where), live=True)

    def fill(self, name: str, by: Pod) -> None:
        self.usage.setdefault(name, NodeUsage()).add(by)

    def place(self, *claims: ResourceClaim, of: Pod | None = None, only_node: str | None = None) -> Decision:
        return place(
            of or pod(),
            claims or (claim(),),
            nodes=self.nodes,
            usage=self.usage,
            allocator=self.allocator,
            only_node=only_node,
        )


def where(decision: Decision) -> tuple[str, list[str]]:
    assert isinstance(decision, Placement), decision
    return decision.node, [result.device for each in decision.allocations for result in each.devices.results or ()]


def why(decision: Decision) -> tuple[Reason, str]:
    assert isinstance(decision, Unschedulable), decision
    assert SECRET not in decision.message
    return decision.reason, decision.message


# --- the node --------------------------------------------------------------------------------------------------------


def test_the_first_node_by_name_that_has_all_is_taken() -> None:
    cluster = Cluster(on=nodes("node-b", "node-a"))

    assert where(cluster.place()) == ("node-a", ["gpu-0"])


def test_all_claims_of_a_pod_are_satisfied_on_one_node() -> None:
    cluster = Cluster()
    cluster.use("node-a/gpu-0", "node-b/gpu-1")

    assert where(cluster.place(claim(name="one"), claim(name="two"))) == ("node-c", ["gpu-0", "gpu-1"])


def test_nodes_that_do_not_take_the_pod_are_passed_over() -> None:
    cluster = Cluster(on={"node-a": node("node-a", cordoned=True), "node-b": node("node-b")})

    assert where(cluster.place()) == ("node-b", ["gpu-0"])


def test_room_on_the_node_counts_and_the_pods_own_does_not() -> None:
    cluster = Cluster(on={"node-a": node("node-a", allocatable={"cpu": "4"}), "node-b": node("node-b")})
    itself = pod("itself", requests={"cpu": "3"})
    cluster.fill("node-a", itself)
    assert where(cluster.place(of=itself))[0] == "node-a"

    cluster.fill("node-a", pod("other", requests={"cpu": "2"}))
    assert where(cluster.place(of=itself))[0] == "node-b"


def test_what_is_allocated_already_fixes_the_node_and_gets_no_second_allocation() -> None:
    cluster = Cluster()
    fixed = allocated(claim(name="fixed"), "node-b/gpu-0", on="node-b")
    cluster.ledger.observe(fixed, live=True)

    assert where(cluster.place(fixed, claim(name="other"))) == ("node-b", ["gpu-1"])
    assert where(cluster.place(fixed)) == ("node-b", [])


def test_only_one_node_is_considered_when_told_so() -> None:
    cluster = Cluster()

    assert where(cluster.place(only_node="node-b")) == ("node-b", ["gpu-0"])
    assert isinstance(cluster.place(only_node="gone"), Unschedulable)


def test_it_can_be_driven_step_by_step() -> None:
    cluster = Cluster()
    cluster.use("node-a/gpu-0", "node-a/gpu-1")
    steps = place_steps(pod(), [claim()], nodes=cluster.nodes, usage={}, allocator=cluster.allocator)

    assert next(steps) is None
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert where(end.value.value) == ("node-b", ["gpu-0"])


# --- what a pod is told ----------------------------------------------------------------------------------------------


def test_no_matching_device() -> None:
    reason, message = why(Cluster().place(claim(request("gpu", "device.driver == 'other'"))))

    assert reason is Reason.NO_MATCHING_DEVICE
    assert message == (
        'none of 3 nodes fits: no device that request "gpu" asks for '
        "(6 published, 6 in its class, none matches its selectors)"
    )


def test_devices_in_use() -> None:
    cluster = Cluster(slice_of(gpus=2, node="node-a"))
    cluster.use("node-a/gpu-0", "node-a/gpu-1")

    assert why(cluster.place()) == (
        Reason.DEVICES_IN_USE,
        'none of 3 nodes fits: too few free devices for request "gpu" (2 matching: 2 in use)',
    )


def test_devices_tainted() -> None:
    cluster = Cluster(slice_of([device("gpu-0", taints=[taint()])], node="node-a"))

    assert why(cluster.place())[0] is Reason.DEVICES_TAINTED


def test_too_few_on_any_one_node() -> None:
    reason, message = why(Cluster().place(claim(request(count=3))))

    assert reason is Reason.NO_MATCHING_DEVICE
    assert message == 'none of 3 nodes fits: request "gpu" wants 3 devices on one node, where at most 2 match'


def test_constraint_unsatisfied() -> None:
    sockets = [device(f"gpu-{i}", attributes={"numa": i}) for i in range(2)]
    cluster = Cluster(slice_of(sockets, node="node-a"))
    asked = claim(request(count=2), constraints=[match_attribute("gpu.example.com/numa")])

    assert why(cluster.place(asked))[0] is Reason.CONSTRAINT_UNSATISFIED


def test_counters_exhausted() -> None:
    halves = [device(f"half-{i}", consumes={"gpu": {"memory": "40Gi"}}) for i in range(3)]
    cluster = Cluster(
        slice_of(node="node-a", count=2, name="counters", counters={"gpu": {"memory": "80Gi"}}),
        slice_of(halves, node="node-a", count=2, name="devices"),
    )
    cluster.use("node-a/half-0", "node-a/half-1")

    assert why(cluster.place())[0] is Reason.COUNTERS_EXHAUSTED


def test_capacity_exhausted() -> None:
    cluster = Cluster(slice_of([device("gpu-0", shared=True, capacity={"memory": "80Gi"})], node="node-a"))
    first = cluster.place(claim(request(capacity={"memory": "60Gi"})))
    assert isinstance(first, Placement)
    cluster.ledger.assume(claim(name="first").uid, first.allocations[0])

    assert why(cluster.place(claim(request(capacity={"memory": "30Gi"}))))[0] is Reason.CAPACITY_EXHAUSTED
    assert where(cluster.place(claim(request(capacity={"memory": "20Gi"})))) == ("node-a", ["gpu-0"])


def test_pool_incomplete() -> None:
    cluster = Cluster(slice_of(gpus=2, node="node-a", count=2))

    assert why(cluster.place())[0] is Reason.POOL_INCOMPLETE


def test_pool_invalid() -> None:
    cluster = Cluster(slice_of([device("gpu-0"), device("gpu-0")], node="node-a"))

    assert why(cluster.place())[0] is Reason.POOL_INVALID


def test_nodes_with_devices_that_do_not_take_the_pod() -> None:
    cluster = Cluster(on={"node-a": node("node-a", cordoned=True), "node-b": node("node-b", allocatable={"cpu": "1"})})

    reason, message = why(cluster.place(of=pod(requests={"cpu": "2"})))

    assert reason is Reason.NODE_UNSUITABLE
    assert message == "none of 2 nodes fits: 1 with devices is cordoned; 1 with devices is short of cpu"


def test_a_cluster_without_nodes() -> None:
    assert why(Cluster(slice_of(), on={}).place()) == (
        Reason.NODE_UNSUITABLE,
        "none of 0 nodes fits: the cluster has no nodes",
    )


# --- errors ----------------------------------------------------------------------------------------------------------


def error(decision: Decision) -> AllocationError:
    assert isinstance(decision, AllocationError), decision
    return decision


def test_a_class_that_does_not_exist_is_an_error_even_in_the_last_alternative() -> None:
    asked = claim(first_available(good=exactly(), bad=exactly(class_name="missing")))

    assert error(Cluster().place(asked)) == AllocationError(
        Reason.CLASS_NOT_FOUND,
        'request "gpu/bad": DeviceClass "missing" does not exist; create it or correct the name',
    )


def test_a_selector_that_does_not_compile_is_named_with_its_position() -> None:
    failed = error(Cluster().place(claim(request("gpu", "true", "device.driver ="))))

    assert failed.reason is Reason.SELECTOR_INVALID
    assert failed.message.startswith('request "gpu", selector 1 does not compile')
    assert "1:15" in failed.message


def test_a_selector_that_fails_on_a_device_says_how_to_guard_it() -> None:
    failed = error(Cluster().place(claim(request("gpu", BIG))))

    assert failed.reason is Reason.SELECTOR_FAILED
    assert "guard it" in failed.message


def test_a_selector_of_the_class_that_fails_names_the_class() -> None:
    cluster = Cluster(of=device_class("gpu", "device.attributes['gpu.example.com'].missing"))

    assert error(cluster.place()).message.startswith('DeviceClass "gpu", selector 0 failed on device')


def test_a_selector_is_not_asked_about_devices_in_use() -> None:
    odd = [device("gpu-0"), device("gpu-1", capacity={"memory": "80Gi"})]
    cluster = Cluster(slice_of(odd, node="node-a"))
    cluster.use("node-a/gpu-0")

    assert where(cluster.place(claim(request("gpu", BIG)))) == ("node-a", ["gpu-1"])


def test_the_node_that_is_chosen_fits() -> None:
    cluster = Cluster()
    decision = cluster.place()

    assert isinstance(decision, Placement)
    assert fits(pod(), cluster.nodes[decision.node], NodeUsage()) == ()
