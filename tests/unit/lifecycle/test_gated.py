"""A gated pod whose claims are there: what it is given, when it is let go, and when it is left to others."""

from __future__ import annotations

import msgspec
import pytest

from dra_operator.api.core import Affinity, PodAffinity
from dra_operator.api.meta import Object
from dra_operator.api.names import ALLOCATE_ANNOTATION, DELETE_PROTECTION_FINALIZER
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import RESERVED_FOR_MAX_SIZE, ResourceClaim
from dra_operator.lifecycle.actions import (
    PublishStatus,
    SetFinalizers,
    Ungate,
    WriteClaimStatus,
)
from dra_operator.lifecycle.policy import OnNoCapacity, Policy
from dra_operator.lifecycle.verdict import NOTHING
from tests.builders import (
    claim,
    device_class,
    need,
    node,
    pod,
    request,
    result,
    selector,
    slice_of,
    term,
)
from tests.unit.lifecycle.scene import (
    ALLOCATED,
    NOW,
    PROTECTED,
    USER,
    at,
    devices,
    full,
    gated,
    generated,
    gpus,
    held,
    look,
    namespace,
    published,
    publishes,
    ready,
    says,
    show,
    ungates,
    users,
    view_of,
    waits,
    writes,
)

APART = "its claims were given devices that no node has all of; trying again"
HOLD, HANDOVER = Policy(), Policy(on_no_capacity=OnNoCapacity.HANDOVER, handover_after=60.0)


# --- protect ---------------------------------------------------------------------------------------------------------


def test_a_users_claim_is_protected_before_it_is_allocated() -> None:
    user, mine = gated(claims=["mine"]), claim(name="mine", finalizers=["example.com/theirs"])
    verdict = look(view_of(user, mine, *gpus()), user)
    finalizers = ("example.com/theirs", DELETE_PROTECTION_FINALIZER)
    assert verdict.actions == (SetFinalizers(mine.key, mine.uid, "1", finalizers),)
    assert verdict.placement == "node-a"


def test_no_claim_of_the_pod_is_allocated_while_one_lacks_protection() -> None:
    user = gated(claims=["a", "b"])
    first, second = claim(name="a", finalizers=PROTECTED), claim(name="b")
    verdict = look(view_of(user, first, second, *gpus(2)), user)
    assert [action.key for action in verdict.actions if isinstance(action, SetFinalizers)] == [second.key]
    assert len(verdict.actions) == 1


def test_a_claim_that_gets_no_device_is_not_touched() -> None:
    user = gated(claims=["mine"])
    waits(look(view_of(user, claim(name="mine"), node(), device_class()), user), Reason.NO_MATCHING_DEVICE)


# --- allocate --------------------------------------------------------------------------------------------------------


def test_all_claims_of_a_pod_are_allocated_together_on_one_node() -> None:
    user = gated(claims=["one", "two"])
    one, two = claim(name="one", finalizers=PROTECTED), claim(request(count=2), name="two", finalizers=PROTECTED)
    small, large = gpus(2, node="node-a"), (node("node-b"), slice_of(gpus=3, node="node-b"))
    verdict = look(view_of(user, one, two, *small, *large), user)
    assert [devices(write) for write in writes(verdict)] == [["node-b/gpu-0"], ["node-b/gpu-1", "node-b/gpu-2"]]
    assert verdict.placement == "node-b"


def test_after_a_crash_between_two_claims_the_allocated_one_fixes_the_node() -> None:
    user = gated(claims=["one", "two"])
    one = held(claim(name="one", finalizers=PROTECTED), "node-b/gpu-0", by=[user], on="node-b")
    two = claim(name="two", finalizers=PROTECTED)
    other = (node("node-b"), slice_of(gpus=2, node="node-b"))
    [write] = writes(look(view_of(user, one, two, *gpus(2), *other), user))
    assert write.key == two.key
    assert devices(write) == ["node-b/gpu-1"]


def test_after_a_crash_what_the_rest_cannot_join_is_given_back() -> None:
    user = gated(claims=["one", "two"])
    one = held(claim(name="one", finalizers=PROTECTED), by=[user])
    two = claim(name="two", finalizers=PROTECTED)
    [write] = writes(look(view_of(user, one, two, *gpus(1)), user))
    assert (write.key, write.allocation, write.reserved_for) == (one.key, None, ())


def test_a_shared_claim_is_joined_on_its_node_with_its_devices() -> None:
    first, second = pod("first", claims=["shared"], node_name="node-b"), gated("second", claims=["shared"])
    shared = held(claim(name="shared", finalizers=PROTECTED), "node-b/gpu-0", by=[first], on="node-b")
    other = (node("node-b"), slice_of(gpus=1, node="node-b"))
    verdict = look(view_of(first, second, shared, *gpus(), *other), second)
    [write] = writes(verdict)
    assert write.allocation == shared.status.allocation
    assert users(write) == [first.uid, second.uid]
    assert verdict.placement == "node-b"


def test_an_allocation_that_kube_scheduler_left_unreserved_is_taken_as_it_is() -> None:
    user = gated(claims=["mine"])
    mine = held(claim(name="mine", finalizers=PROTECTED))
    [write] = writes(look(view_of(user, mine, *gpus(2)), user))
    assert write.allocation == mine.status.allocation
    assert users(write) == [user.uid]


def test_a_full_claim_is_named() -> None:
    user = gated(claims=["shared"])
    crowd = [pod(f"p{index}") for index in range(RESERVED_FOR_MAX_SIZE)]
    shared = held(claim(name="shared", finalizers=PROTECTED), by=crowd)
    waits(look(view_of(user, shared, *gpus()), user), Reason.CLAIM_FULL, '"default/shared"', "256", "wait for one")


def test_a_full_claim_still_serves_the_pods_that_are_in_it() -> None:
    user = gated(claims=["shared"])
    crowd = [pod(f"p{index}") for index in range(RESERVED_FOR_MAX_SIZE - 1)]
    shared = held(claim(name="shared", finalizers=PROTECTED), by=[*crowd, user])
    assert published(look(view_of(user, shared, *gpus()), user)).reason == "Allocated"


def test_admin_access_is_asked_again_before_devices_are_given() -> None:
    user = gated(claims=["watch"])
    watch = claim(request(mode="All", admin=True), name="watch", finalizers=PROTECTED)
    waits(
        look(view_of(user, watch, namespace(), *gpus()), user),
        Reason.ADMIN_ACCESS_DENIED,
        '"default/watch"',
        'resource.kubernetes.io/admin-access: "true"',
    )


def test_admin_access_that_was_granted_already_stays_granted() -> None:
    user = gated(claims=["watch"])
    watch = claim(request(mode="All", admin=True), name="watch", finalizers=PROTECTED)
    seen = held(watch, result("node-a/gpu-0", admin=True), by=[user])
    assert published(look(view_of(user, seen, namespace(), *gpus()), user)).reason == "Allocated"


# --- ungate and pin --------------------------------------------------------------------------------------------------


def test_a_pod_with_rules_that_we_do_not_check_is_ungated_without_a_pin() -> None:
    near = Affinity(pod_affinity=PodAffinity(required=({"topologyKey": "zone"},)))
    view, told = ready(msgspec.structs.replace(USER, spec=msgspec.structs.replace(USER.spec, affinity=near)))
    assert look(view, told).actions == (ungates(told, pinned_to=None),)


def test_devices_that_many_nodes_reach_leave_the_choice_to_kube_scheduler() -> None:
    view, told = ready(USER, on=None)
    assert look(view, told).actions == (ungates(told, pinned_to=None),)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        (node(cordoned=True), "cordoned"),
        (node(allocatable={"cpu": "1", "pods": "0"}), "no room"),
    ],
)
def test_a_node_that_does_not_take_the_pod_any_more_loses_it(changed: Object, word: str) -> None:
    view, told = ready(USER, changed, slice_of(), device_class())
    waits(look(view, told), Reason.NODE_UNSUITABLE, word)


def test_a_node_that_is_gone_loses_the_pod() -> None:
    view, told = ready(USER, slice_of(), device_class())
    waits(look(view, told), Reason.NODE_UNSUITABLE, "gone")


def test_what_a_pod_holds_is_taken_back_only_after_no_write_can_ungate_it_any_more() -> None:
    """A replica that led before may have sent that write; it carries the version with the condition Allocated."""
    view, told = ready(USER, slice_of(), device_class())
    assert isinstance(look(view, told).actions[0], PublishStatus)
    told = says(at(told, 2), "NodeUnsuitable", "x")
    show(view, told)
    assert writes(look(view, told))


def test_the_pods_own_room_is_not_held_against_it() -> None:
    view, told = ready(USER, node(allocatable={"cpu": "1", "pods": "1"}), slice_of(), device_class())
    view.assume_placement(told.uid, "node-a")
    assert look(view, told).actions == (ungates(told, pinned_to="node-a"),)


def test_a_gated_pod_without_claims_is_let_go() -> None:
    user = gated()
    assert look(view_of(user), user).actions == (ungates(user, pinned_to=None),)


def test_a_gated_pod_without_claims_is_left_to_the_other_gates_first() -> None:
    user = gated(others=["example.com/wait"])
    assert look(view_of(user), user) == NOTHING


# --- others' gates, namespaces and classes ---------------------------------------------------------------------------


def test_devices_are_not_held_for_a_pod_that_someone_else_still_gates() -> None:
    user = gated(claims=["mine"], others=["kueue.x-k8s.io/admission"])
    mine = claim(name="mine", finalizers=PROTECTED)
    verdict = look(view_of(user, mine, *gpus()), user)
    waits(verdict, Reason.WAITING_FOR_OTHER_GATES, '"kueue.x-k8s.io/admission"')
    assert not verdict.waits
    assert verdict.placement is None


def test_a_pod_of_an_excluded_namespace_is_let_go_at_once() -> None:
    user = gated(claims=["mine"])
    home = namespace("default", **{"dra-operator.io/allocation": "disabled"})
    assert look(view_of(user, claim(name="mine"), home, *gpus()), user).actions == (ungates(user, pinned_to=None),)


def test_a_pod_that_waited_when_its_namespace_opted_out_is_told_first() -> None:
    user = says(gated(claims=["mine"]), "DevicesInUse")
    home = namespace("default", **{"dra-operator.io/allocation": "disabled"})
    assert published(look(view_of(user, claim(name="mine"), home, *gpus()), user)).reason == "NotManaged"
    told = says(user, "NotManaged", "left to kube-scheduler")
    assert look(view_of(told, claim(name="mine"), home, *gpus()), told).actions == (ungates(told, pinned_to=None),)


def test_a_pod_whose_classes_are_anothers_is_let_go() -> None:
    user = gated(claims=["mine"])
    theirs = device_class(annotations={ALLOCATE_ANNOTATION: "false"})
    verdict = look(view_of(user, claim(name="mine"), node(), slice_of(), theirs), user)
    assert verdict.actions == (ungates(user, pinned_to=None),)


# --- nothing free: hold or hand over ---------------------------------------------------------------------------------


def test_a_pod_that_finds_nothing_is_held() -> None:
    view, user = full(since=NOW - 10_000)
    verdict = look(view, user, HOLD)
    assert verdict.waits
    assert not [action for action in verdict.actions if isinstance(action, Ungate)]


def test_handover_waits_its_time() -> None:
    view, user = full(since=NOW - 20)
    view.message_written[user.uid] = NOW
    verdict = look(view, user, HANDOVER)
    assert verdict.actions == ()
    assert verdict.requeue_after == 40


def test_handover_says_so_and_ungates_the_pod_without_devices_and_without_a_pin() -> None:
    view, user = full(since=NOW - 60)
    condition = published(look(view, user, HANDOVER))
    assert (condition.status, condition.reason) == (False, "NotManaged")
    assert condition.message.startswith("left to kube-scheduler: ")
    told = says(user, "NotManaged", condition.message, since=NOW - 60)
    show(view, told)
    assert look(view, told, HANDOVER).actions == (ungates(told, pinned_to=None),)


def test_a_pod_that_gets_devices_after_all_is_not_handed_over() -> None:
    user = says(gated(claims=["mine"]), "NotManaged", since=NOW - 60)
    view = view_of(user, claim(name="mine", finalizers=PROTECTED), *gpus())
    assert devices(writes(look(view, user, HANDOVER))[0])


def test_handover_publishes_the_claims_names_first() -> None:
    user = says(gated(templates=["template"]), "NoMatchingDevice", since=NOW - 60)
    mine = generated(user)
    view = view_of(user, mine, node(), device_class())
    [action] = look(view, user, HANDOVER).actions
    assert isinstance(action, PublishStatus)
    assert action.condition is not None
    told = publishes(user, {"template": mine.metadata.name})
    told = says(told, action.condition.reason, action.condition.message, since=NOW - 60)
    assert look(view_of(told, mine, node(), device_class()), told, HANDOVER).actions == (ungates(told, pinned_to=None),)


def test_a_pod_that_may_be_ungated_already_keeps_what_it_holds_until_it_is_told() -> None:
    """Who led before may have sent the write that ungates it. It fails once the condition is another."""
    user = says(gated(claims=["mine", "lost"]), "Allocated", ALLOCATED, since=NOW - 10_000)
    mine = held(claim(name="mine"), by=[user])
    lost = claim(name="lost", finalizers=PROTECTED)  # somebody released it, and its device went to another
    taken = held(claim(name="taken"), "node-a/gpu-1", by=[pod("runner", claims=["taken"], node_name="node-a")])
    view = view_of(user, mine, lost, taken, *gpus(2))
    waits(look(view, user, HANDOVER), Reason.DEVICES_IN_USE)

    told = says(user, "DevicesInUse", "m", since=NOW)
    show(view, told)
    [back] = writes(look(view, told, HANDOVER))
    assert (back.key, back.allocation) == (mine.key, None)


def test_handover_is_not_for_pods_whose_objects_are_wrong() -> None:
    """Nor are they looked at again and again because their time is over."""
    user = says(gated(claims=["missing"]), "ClaimNotFound", since=NOW - 10_000)
    verdict = look(view_of(user, *gpus()), user, HANDOVER)
    assert not [one for one in verdict.actions if isinstance(one, Ungate)]
    assert verdict.requeue_after is None


def test_handover_is_not_for_pods_whose_class_is_missing() -> None:
    user = says(gated(claims=["mine"]), "ClassNotFound", since=NOW - 10_000)
    view = view_of(user, claim(request(class_name="missing"), name="mine", finalizers=PROTECTED), *gpus())
    view.message_written[user.uid] = NOW
    verdict = look(view, user, HANDOVER)
    assert (verdict.reason, verdict.actions) == ("ClassNotFound", ())
    assert verdict.requeue_after == HANDOVER.condition_interval


def test_without_the_gate_a_pod_that_is_gated_all_the_same_is_let_go_unallocated() -> None:
    user = gated(claims=["mine"])
    view = view_of(user, claim(name="mine", finalizers=PROTECTED), *gpus())
    assert look(view, user, Policy(allocates=False)).actions == (ungates(user, pinned_to=None),)


def test_a_pod_whose_claims_two_operators_allocated_on_two_nodes_is_not_let_go() -> None:
    user = gated(claims=["one", "two"])
    here = held(claim(name="one", finalizers=PROTECTED), "node-a/gpu-0", by=[user], on="node-a")
    there = held(claim(name="two", finalizers=PROTECTED), "node-b/gpu-0", by=[user], on="node-b")
    view = view_of(*gpus(node="node-a"), *gpus(node="node-b"), user, here, there)
    verdict = look(view, user)
    assert (verdict.reason, verdict.message) == (Reason.CONFLICT, APART)
    assert {action.key for action in verdict.actions if isinstance(action, WriteClaimStatus)} == {here.key, there.key}


def in_zone_b(to: ResourceClaim) -> ResourceClaim:
    """The claim, with its devices to be had in that zone and nowhere else."""
    assert to.status.allocation is not None
    allocation = msgspec.structs.replace(to.status.allocation, node_selector=selector(term(need("zone", "In", "b"))))
    return msgspec.structs.replace(to, status=msgspec.structs.replace(to.status, allocation=allocation))


def test_nor_one_of_whose_devices_some_cannot_be_had_on_the_node_of_the_others() -> None:
    """It would be pinned to that node, and wait there for ever."""
    user = gated(claims=["one", "two"])
    here = held(claim(name="one", finalizers=PROTECTED), by=[user])
    there = in_zone_b(held(claim(name="two", finalizers=PROTECTED), "net/volume-0", by=[user]))
    reachable = look(view_of(*gpus(), node("node-a", labels={"zone": "b"}), user, here, there), user)
    assert [type(action) for action in reachable.actions] == [PublishStatus]

    verdict = look(view_of(*gpus(), node("node-a", labels={"zone": "a"}), user, here, there), user)
    assert (verdict.reason, verdict.message) == (Reason.CONFLICT, APART)
    assert {action.key for action in writes(verdict)} == {here.key, there.key}
