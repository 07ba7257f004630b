"""A pod without our gate: bound already, or kube-scheduler's to place."""

from __future__ import annotations

import msgspec
import pytest

from dra_operator.api.core import Pod
from dra_operator.api.meta import Condition
from dra_operator.api.resource import RESERVED_FOR_MAX_SIZE, AllocatedDeviceStatus, ResourceClaim
from dra_operator.lifecycle.actions import (
    DeletePod,
    PublishStatus,
    ReadPod,
)
from dra_operator.lifecycle.policy import Policy, Repack
from dra_operator.lifecycle.verdict import NOTHING, Verdict
from dra_operator.lifecycle.view import View
from tests.builders import (
    DRIVER,
    allocated,
    claim,
    pod,
    result,
)
from tests.unit.lifecycle.scene import (
    NOW,
    PROTECTED,
    generated,
    gpus,
    held,
    later,
    look,
    owned_by,
    published,
    says,
    show,
    users,
    view_of,
    with_condition,
    writes,
)

# --- not gated -------------------------------------------------------------------------------------------------------


def test_a_pod_that_is_bound_already_gets_its_claim_reserved() -> None:
    bound = pod(claims=["mine"], node_name="node-a")
    mine = held(claim(name="mine"))
    [write] = writes(look(view_of(bound, mine, *gpus()), bound))
    assert write.allocation == mine.status.allocation
    assert users(write) == [bound.uid]


def test_a_bound_pod_that_somebody_took_out_of_a_claim_is_read_before_it_is_made_a_user_again() -> None:
    """kube-controller-manager has seen it end before we have. It and we would go on in turns until we see it, too."""
    bound, other = pod(claims=["mine"], node_name="node-a"), pod("other", claims=["mine"], node_name="node-a")
    mine, left = held(claim(name="mine"), by=[bound, other]), later(held(claim(name="mine"), by=[other]), 7)
    for live in (True, False):
        view = view_of(bound, other, mine, *gpus())
        view.observe_claim(left, live=live)
        assert look(view, bound).actions == (ReadPod(bound.key, bound.uid),)
        view.note_read(bound.uid, pod("pod", claims=["mine"], node_name="node-a", phase="Succeeded", version=8), 0)
        assert look(view, bound) == NOTHING


def test_one_that_runs_all_the_same_is_made_a_user_again() -> None:
    bound = pod(claims=["mine"], node_name="node-a")
    view = view_of(bound, held(claim(name="mine"), by=[bound]), *gpus())
    show(view, later(held(claim(name="mine")), 7))
    view.note_read(bound.uid, bound, 0)
    [write] = writes(look(view, bound))
    assert users(write) == [bound.uid]


def test_one_that_is_gone_is_not() -> None:
    bound = pod(claims=["mine"], node_name="node-a")
    view = view_of(bound, held(claim(name="mine"), by=[bound]), *gpus())
    show(view, later(held(claim(name="mine")), 7))
    view.note_read(bound.uid, None, 0)
    assert not writes(look(view, bound))


@pytest.mark.parametrize(
    "mine",
    [
        claim(name="mine"),
        held(claim(name="mine", deleted=True)),
        held(claim(name="mine"), by=[pod(f"p{index}") for index in range(RESERVED_FOR_MAX_SIZE)]),
    ],
    ids=["not allocated", "being deleted", "full"],
)
def test_a_bound_pod_is_not_given_what_it_cannot_have(mine: ResourceClaim) -> None:
    bound = pod(claims=["mine"], node_name="node-a")
    assert look(view_of(bound, mine, *gpus()), bound).actions == ()


def test_an_ungated_pod_is_given_no_devices() -> None:
    user = pod(claims=["mine"])
    assert look(view_of(user, claim(name="mine"), *gpus()), user).actions == ()


def test_the_names_of_an_ungated_pods_claims_are_published() -> None:
    user = pod(templates=["template"])
    [action] = look(view_of(user, generated(user), *gpus()), user).actions
    assert isinstance(action, PublishStatus)
    assert action.condition is None


# --- ungated, and not scheduled --------------------------------------------------------------------------------------

REPORT = Policy(repack_after=300.0)
EVICT = Policy(repack_after=300.0, repack=Repack.EVICT)


def stuck(waited: float, *, owned: bool = False) -> tuple[View, Pod]:
    """A pod that has had its devices for so long and that kube-scheduler does not place."""
    owner = msgspec.structs.replace(owned_by(pod("set")), kind="ReplicaSet", api_version="apps/v1") if owned else None
    user = says(pod(claims=["mine"], owner=owner), "Allocated", since=NOW - waited)
    user = with_condition(user, "PodScheduled", "False", "Unschedulable", "0/1 nodes are available")
    return view_of(user, held(claim(name="mine", finalizers=PROTECTED), by=[user]), *gpus()), user


def test_a_pod_that_is_not_scheduled_has_its_time() -> None:
    view, user = stuck(100)
    assert look(view, user, REPORT) == Verdict(requeue_after=200)


def test_then_it_is_reported_and_keeps_its_devices() -> None:
    view, user = stuck(300)
    verdict = look(view, user, REPORT)
    condition = published(verdict)
    assert (condition.status, condition.reason) == (True, "UnschedulableAfterPin")
    assert "0/1 nodes are available" in condition.message
    assert [notice.reason for notice in verdict.notices] == ["UnschedulableAfterPin"]


def test_evict_says_why_and_then_deletes_a_pod_that_its_controller_replaces() -> None:
    view, user = stuck(300, owned=True)
    verdict = look(view, user, EVICT)
    assert published(verdict).reason == "UnschedulableAfterPin"
    assert [notice.reason for notice in verdict.notices] == ["UnschedulableAfterPin"]
    told = says(user, "UnschedulableAfterPin", since=NOW - 300)
    show(view, told)
    assert look(view, told, EVICT).actions == (DeletePod(told.key, told.uid, "1"),)


def test_evict_leaves_pods_that_kube_scheduler_has_not_looked_at() -> None:
    view, user = stuck(10_000, owned=True)
    user = with_condition(user, "PodScheduled", "False", "SchedulingGated", "gated")
    show(view, user)
    said = published(look(view, user, EVICT))
    assert (said.reason, "see whether it runs" in said.message) == ("UnschedulableAfterPin", True)
    told = says(user, said.reason, said.message, since=NOW - 10_000)
    show(view, told)
    assert look(view, told, EVICT).actions == ()


@pytest.mark.parametrize("attached", [False, True])
def test_a_pod_whose_device_is_not_attached_yet_is_told_what_it_waits_for(attached: bool) -> None:
    view, user = stuck(10_000, owned=True)
    user = with_condition(user, "PodScheduled", "False", "SchedulingGated", "gated")
    attaching = msgspec.structs.replace(result("node-a/gpu-0"), binding_conditions=("example.com/ready",))
    mine = allocated(claim(name="mine", finalizers=PROTECTED), attaching, on="node-a", reserved_for=[user])
    if attached:
        ready = Condition(type="example.com/ready", status="True")
        device = AllocatedDeviceStatus(driver=DRIVER, pool="node-a", device="gpu-0", conditions=(ready,))
        mine = msgspec.structs.replace(mine, status=msgspec.structs.replace(mine.status, devices=(device,)))
    show(view, user, mine)

    said = published(look(view, user, EVICT)).message
    assert ("example.com/ready" in said) is not attached
    assert ("kube-scheduler has not looked" in said) is attached


def test_evict_leaves_a_pod_that_nobody_would_replace() -> None:
    view, user = stuck(300)
    assert published(look(view, user, EVICT)).reason == "UnschedulableAfterPin"


def test_evict_is_not_the_default() -> None:
    view, user = stuck(10_000, owned=True)
    assert published(look(view, user, REPORT)).reason == "UnschedulableAfterPin"


def test_a_pod_whose_devices_kube_scheduler_took_back_is_not_told_that_it_has_them() -> None:
    """Where the pod is not pinned, kube-scheduler clears the allocation to look for another by itself."""
    view, user = stuck(300, owned=True)
    show(view, claim(name="mine", finalizers=PROTECTED))
    condition = published(look(view, user, EVICT))
    assert (condition.status, condition.reason) == (False, "NotManaged")
    assert condition.message == (
        "left to kube-scheduler, which took its devices back and does not place it: 0/1 nodes are available"
    )


@pytest.mark.parametrize("reason", ["UnschedulableAfterPin", "NotManaged"])
def test_a_pod_that_is_bound_with_its_devices_is_not_said_to_lack_a_place(reason: str) -> None:
    bound = says(pod(claims=["mine"], node_name="node-a"), reason, "kube-scheduler does not place it")
    view = view_of(bound, held(claim(name="mine", finalizers=PROTECTED), by=[bound]), *gpus())
    condition = published(look(view, bound, REPORT))
    assert (condition.status, condition.reason, condition.message) == (True, "Allocated", "1 device in 1 claim")
    show(view, says(bound, condition.reason, condition.message))
    assert look(view, bound, REPORT) == NOTHING


def test_a_pod_that_is_bound_without_devices_is_not_told_that_it_has_some() -> None:
    bound = says(pod(claims=["mine"], node_name="node-a"), "NotManaged", "left to kube-scheduler")
    assert look(view_of(bound, claim(name="mine", finalizers=PROTECTED), *gpus()), bound, REPORT) == NOTHING
