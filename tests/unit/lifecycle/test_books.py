"""Partitions and shares that two allocators gave out without seeing each other: a gated pod yields."""

from __future__ import annotations

from dra_operator.api.core import Pod
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import DeviceRequestAllocationResult, ResourceClaim
from dra_operator.lifecycle.actions import PublishStatus, WriteClaimStatus
from dra_operator.lifecycle.view import View
from tests.builders import claim, device, device_class, node, result, slice_of
from tests.unit.lifecycle.scene import PROTECTED, gated, held, look, view_of

POD = gated("pod", claims=["mine"])
PARTITIONS = [device("whole", consumes={"gpu": {"mem": "8"}}), device("half", consumes={"gpu": {"mem": "4"}})]


def mine(*given: DeviceRequestAllocationResult | str) -> ResourceClaim:
    """The claim of the gated pod: allocated, reserved for it, and first seen."""
    return held(claim(name="mine", finalizers=PROTECTED), *given, by=[POD])


def theirs(*given: DeviceRequestAllocationResult | str) -> ResourceClaim:
    return held(claim(name="theirs", finalizers=PROTECTED), *given)


def partitioned(*claims: ResourceClaim) -> View:
    sets = slice_of([], counters={"gpu": {"mem": "8"}}, name="sets", count=2)
    return view_of(node(), sets, slice_of(PARTITIONS, name="devices", count=2), device_class(), *claims, POD)


def share(amount: str, id_: str) -> DeviceRequestAllocationResult:
    return result("node-a/gpu-0", share=id_, consumes={"memory": amount})


def shared(*claims: ResourceClaim) -> View:
    gpu = device("gpu-0", capacity={"memory": "10Gi"}, shared=True)
    return view_of(node(), slice_of([gpu]), device_class(), *claims, POD)


def assert_yields(view: View, pod: Pod = POD) -> None:
    verdict = look(view, pod)
    [write] = verdict.actions
    assert isinstance(write, WriteClaimStatus)
    assert (write.allocation, write.reserved_for) == (None, ())
    assert verdict.reason == Reason.CONFLICT


def test_a_partition_beside_another_that_leaves_no_room_for_it_is_given_back() -> None:
    assert_yields(partitioned(mine("node-a/whole"), theirs("node-a/half")))


def test_a_share_of_more_than_there_is_is_given_back() -> None:
    assert_yields(shared(mine(share("8Gi", "a")), theirs(share("8Gi", "b"))))


def test_what_is_covered_is_kept() -> None:
    for view in (
        partitioned(mine("node-a/half")),
        shared(mine(share("4Gi", "a")), theirs(share("4Gi", "b"))),
        partitioned(mine("node-a/half"), theirs(result("node-a/whole", admin=True))),
    ):
        assert [type(action) for action in look(view, POD).actions] == [PublishStatus]
