"""The way of a pod, look by look: each look at a state of the cluster returns the writes of one step and no more."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from dra_operator.allocation.outcome import Unschedulable
from dra_operator.allocation.place import Placement
from dra_operator.api.core import Affinity, Pod, PodAffinity, PodResourceClaim
from dra_operator.api.meta import Object
from dra_operator.api.names import ALLOCATE_ANNOTATION, DELETE_PROTECTION_FINALIZER, FIELD_MANAGER, GATE
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import RESERVED_FOR_MAX_SIZE, ResourceClaim
from dra_operator.lifecycle.actions import (
    CreateClaim,
    DeleteClaim,
    DeletePod,
    PodCondition,
    PublishStatus,
    SetFinalizers,
    Ungate,
    WriteClaimStatus,
)
from dra_operator.lifecycle.decide import Decider
from dra_operator.lifecycle.generate import claim_name
from dra_operator.lifecycle.policy import OnNoCapacity, Policy, Repack
from dra_operator.lifecycle.publish import timestamp
from dra_operator.lifecycle.refusal import Refusal
from dra_operator.lifecycle.verdict import NOTHING, Verdict
from dra_operator.lifecycle.view import View
from tests.builders import (
    allocation,
    claim,
    container,
    device_class,
    need,
    node,
    pod,
    request,
    result,
    selector,
    slice_of,
    template,
    term,
)
from tests.unit.lifecycle.scene import (
    NOW,
    PROTECTED,
    gated,
    generated,
    gpus,
    held,
    later,
    look,
    namespace,
    owned_by,
    publishes,
    says,
    show,
    view_of,
    with_condition,
    written_by,
)

HOLD, HANDOVER = Policy(), Policy(on_no_capacity=OnNoCapacity.HANDOVER, handover_after=60.0)


def writes(verdict: Verdict) -> list[WriteClaimStatus]:
    """The verdict's actions, which are all writes of claims."""
    found = [action for action in verdict.actions if isinstance(action, WriteClaimStatus)]
    assert len(found) == len(verdict.actions)
    return found


def devices(write: WriteClaimStatus) -> list[str]:
    assert write.allocation is not None
    return [f"{one.pool}/{one.device}" for one in write.allocation.devices.results or ()]


def users(write: WriteClaimStatus) -> list[str]:
    return [consumer.uid for consumer in write.reserved_for]


def published(verdict: Verdict) -> PodCondition:
    """The condition that the verdict's only action writes."""
    [action] = verdict.actions
    assert isinstance(action, PublishStatus)
    assert action.condition is not None
    return action.condition


def waits(verdict: Verdict, reason: Reason, *words: str) -> None:
    """The pod is told to wait, and waits."""
    condition = published(verdict)
    assert (condition.status, condition.reason) == (False, reason.value)
    assert [word for word in words if word not in condition.message] == [], condition.message
    assert verdict.reason is reason


def at(pod: Pod, version: int) -> Pod:
    """The pod at another resourceVersion."""
    return msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, resource_version=str(version)))


def ungates(of: Pod, *, pinned_to: str | None) -> Ungate:
    required = selector(term(fields=[need("metadata.name", "In", pinned_to)])) if pinned_to else None
    return Ungate(of.key, of.uid, of.metadata.resource_version, required)


# --- step by step ----------------------------------------------------------------------------------------------------

USER = gated(templates=["template"])
MADE = generated(USER)
NAMES = {"template": MADE.metadata.name}
ALLOCATED = "1 device in 1 claim"


def test_1_the_claim_is_created() -> None:
    verdict = look(view_of(USER, template(), *gpus()), USER)
    [create] = verdict.actions
    assert isinstance(create, CreateClaim)
    assert create.claim.metadata.name == claim_name(USER, "template", 0)


def test_2_the_claim_is_allocated_and_reserved_in_one_write() -> None:
    verdict = look(view_of(USER, MADE, *gpus()), USER)
    [write] = writes(verdict)
    assert (write.key, write.uid, write.resource_version) == (MADE.key, MADE.uid, "1")
    assert devices(write) == ["node-a/gpu-0"]
    assert users(write) == [USER.uid]
    assert verdict.placement == "node-a"


def test_2_an_allocation_says_when_it_was_made() -> None:
    # Without it the first pod that kube-scheduler reserves the claim for fails for ever.
    [write] = writes(look(view_of(USER, MADE, *gpus()), USER))
    assert write.allocation is not None
    assert write.allocation.allocation_timestamp == timestamp(NOW)


def test_3_nothing_goes_on_until_the_mirror_confirms_the_write() -> None:
    view = view_of(USER, MADE, *gpus())
    view.note_written(later(held(MADE, by=[USER]), 2))
    assert look(view, USER) == Verdict(requeue_after=HOLD.confirm_timeout)


def test_3_an_allocation_that_is_still_being_written_is_not_confirmed() -> None:
    taken = held(MADE, by=[USER])
    view = view_of(USER, taken, *gpus(2))
    view.assume_allocation(taken, allocation("node-a/gpu-1", on="node-a"))
    assert look(view, USER).actions == ()


def test_4_the_status_is_published() -> None:
    verdict = look(view_of(USER, held(MADE, by=[USER]), *gpus()), USER)
    condition = published(verdict)
    assert condition == PodCondition(True, "Allocated", ALLOCATED, timestamp(NOW))
    [action] = verdict.actions
    assert isinstance(action, PublishStatus)
    assert {one.name: one.resource_claim_name for one in action.claim_statuses} == NAMES
    assert verdict.notices == ()  # the condition says so, and an Event is one more write


def test_4_a_pod_that_was_told_to_wait_gets_an_event_when_it_waits_no_more() -> None:
    told = says(publishes(USER, NAMES), "DevicesInUse", "none")
    [notice] = look(view_of(told, held(MADE, by=[told]), *gpus()), told).notices
    assert (notice.type, notice.reason, notice.message, notice.uid) == ("Normal", "Allocated", ALLOCATED, USER.uid)


def test_5_the_pod_is_ungated_and_pinned() -> None:
    told = says(publishes(USER, NAMES), "Allocated", ALLOCATED)
    verdict = look(view_of(told, held(MADE, by=[USER]), *gpus()), told)
    assert verdict.actions == (ungates(USER, pinned_to="node-a"),)
    assert verdict.notices == ()


def test_6_an_ungated_pod_is_kube_schedulers() -> None:
    ungated = says(publishes(pod(templates=["template"]), NAMES), "Allocated", ALLOCATED)
    assert look(view_of(ungated, held(MADE, by=[ungated]), *gpus()), ungated).actions == ()


def test_7_a_pod_that_ended_is_left_to_its_claims() -> None:
    ended = pod(templates=["template"], phase="Succeeded")
    assert look(view_of(ended, template(), *gpus()), ended) == NOTHING


def test_a_pod_that_is_gone_is_nothing_to_do() -> None:
    assert look(view_of(), USER) == NOTHING


# --- generate --------------------------------------------------------------------------------------------------------


def test_all_claims_of_a_pod_are_created_at_once() -> None:
    user = gated(templates=["a", "b"])
    verdict = look(view_of(user, template(name="a"), template(name="b"), *gpus()), user)
    assert [type(action) for action in verdict.actions] == [CreateClaim, CreateClaim]


def test_claims_are_generated_for_pods_that_are_not_gated_too() -> None:
    user = pod(templates=["template"])
    [create] = look(view_of(user, template(), namespace("default"), *gpus()), user).actions
    assert isinstance(create, CreateClaim)


def test_a_duplicate_of_the_published_claim_is_deleted() -> None:
    user = publishes(USER, {"template": "kept"})
    kept, spare = held(generated(user, name="kept"), by=[user]), generated(user, name="spare")
    assert look(view_of(user, kept, spare, *gpus()), user).actions == (DeleteClaim(spare.key, spare.uid, "1"),)


def test_a_duplicate_with_devices_gives_them_back_first() -> None:
    user = publishes(USER, {"template": "theirs"})
    ours, theirs = held(generated(user, name="ours"), by=[user]), generated(user, name="theirs")
    assert look(view_of(user, ours, theirs, *gpus()), user).actions == (
        WriteClaimStatus(ours.key, ours.uid, "1", None, ()),
    )


def test_a_duplicate_that_somebody_deletes_gives_its_devices_back() -> None:
    """Its finalizer keeps it as long as it is reserved."""
    ending = held(generated(USER, name="pod-template-zzzzz", deleted=True), "node-a/gpu-1", by=[USER])
    told = publishes(USER, NAMES)
    [write] = writes(look(view_of(*gpus(2), template(), told, MADE, ending), told))
    assert (write.key, users(write), write.allocation) == (ending.key, [], None)


def test_a_published_claim_that_is_gone_gives_way_to_ours_by_force() -> None:
    user = publishes(USER, {"template": "deleted"})
    ours = held(generated(user, name="ours"), by=[user])
    [write] = look(view_of(user, ours, *gpus()), user).actions
    assert isinstance(write, PublishStatus)
    assert [status.resource_claim_name for status in write.claim_statuses] == ["ours"]
    assert write.force


def test_a_refused_creation_is_told_and_tried_again_later() -> None:
    view = view_of(USER, template(), *gpus())
    view.refusals[USER.uid] = Refusal("exceeded quota: claims", NOW, NOW + 10)
    verdict = look(view, USER)
    waits(verdict, Reason.CLAIM_CREATION_REFUSED, "exceeded quota: claims")
    assert verdict.requeue_after == 10
    assert isinstance(look(view, USER, now=NOW + 10).actions[0], CreateClaim)


def test_a_refusal_does_not_outlive_a_clock_that_was_set_back() -> None:
    view = view_of(USER, template(), *gpus())
    view.refusals[USER.uid] = Refusal("exceeded quota: claims", NOW + 3600, NOW + 3610)
    assert isinstance(look(view, USER).actions[0], CreateClaim)


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


def ready(user: Pod, *objects: Object, on: str | None = "node-a") -> tuple[View, Pod]:
    """The pod has its device and says so; only the gate is left."""
    told = says(publishes(user, NAMES), "Allocated", ALLOCATED)
    return view_of(told, held(MADE, by=[user], on=on), *(objects or gpus())), told


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


# --- blocked: the pod waits and holds nothing ------------------------------------------------------------------------


def test_a_blocked_pod_says_why() -> None:
    user = gated(claims=["mine"])
    verdict = look(view_of(user, *gpus()), user)
    waits(verdict, Reason.CLAIM_NOT_FOUND, '"default/mine"')
    assert verdict.waits


def test_a_blocked_pod_first_gives_back_what_it_alone_uses() -> None:
    user = gated(claims=["one", "missing"])
    one = held(claim(name="one", finalizers=PROTECTED), by=[user])
    [write] = writes(look(view_of(user, one, *gpus()), user))
    assert (write.key, write.allocation, write.reserved_for) == (one.key, None, ())


def test_a_blocked_pod_leaves_a_shared_claim_to_its_other_users() -> None:
    user, runner = gated(claims=["shared", "missing"]), pod("runner", claims=["shared"], node_name="node-a")
    shared = held(claim(name="shared", finalizers=PROTECTED), by=[user, runner])
    [write] = writes(look(view_of(user, runner, shared, *gpus()), user))
    assert write.allocation == shared.status.allocation
    assert users(write) == [runner.uid]


def test_a_claim_that_is_deleted_under_a_gated_pod_is_given_back() -> None:
    user = gated(claims=["mine"])
    going = held(claim(name="mine", finalizers=PROTECTED, deleted=True), by=[user])
    [write] = writes(look(view_of(user, going, *gpus()), user))
    assert (write.key, write.allocation) == (going.key, None)


def test_names_of_the_claims_that_there_are_are_published_while_the_pod_waits() -> None:
    user = gated(claims=["missing"], templates=["template"])
    [action] = look(view_of(user, generated(user), *gpus()), user).actions
    assert isinstance(action, PublishStatus)
    assert [(one.name, one.resource_claim_name) for one in action.claim_statuses] == [
        ("template", generated(user).metadata.name)
    ]


# --- disputed: a rival was given the device first --------------------------------------------------------------------


def rivals(user: Pod, *, by: Sequence[Pod]) -> tuple[View, ResourceClaim]:
    """Another claim's allocation of the same device came first."""
    theirs, ours = held(claim(name="theirs"), by=[pod("rival")]), held(claim(name="mine", finalizers=PROTECTED), by=by)
    return view_of(user, theirs, ours, *gpus(2)), ours


def test_a_disputed_allocation_is_given_back_and_tried_again() -> None:
    user = gated(claims=["mine"])
    view, ours = rivals(user, by=[user])
    verdict = look(view, user)
    [write] = writes(verdict)
    assert (write.key, write.allocation, write.reserved_for) == (ours.key, None, ())
    [notice] = verdict.notices
    assert (notice.type, notice.reason) == ("Warning", "Conflict")
    assert verdict.requeue_after == HOLD.conflict_retry
    show(view, later(claim(name="mine", finalizers=PROTECTED), 2))
    assert devices(writes(look(view, user))[0]) == ["node-a/gpu-1"]


def test_a_disputed_allocation_that_others_use_too_is_not_taken_from_them() -> None:
    user = gated(claims=["mine"])
    view, _ = rivals(user, by=[user, pod("runner", claims=["mine"], node_name="node-a")])
    verdict = look(view, user)
    assert published(verdict).reason == "Conflict"
    assert len(verdict.actions) == 1
    assert verdict.requeue_after is not None


@pytest.mark.parametrize("known", ["a rival came first", "the mirror has not confirmed it"])
def test_a_pod_whose_namespace_opts_out_takes_no_devices_along_that_are_anothers(known: str) -> None:
    user = gated(claims=["mine"])
    if known == "a rival came first":
        view, ours = rivals(user, by=[user])
        show(view, later(written_by(ours, FIELD_MANAGER), 2))
    else:
        ours = held(claim(name="mine", finalizers=PROTECTED), by=[user])
        view = view_of(user, claim(name="mine", finalizers=PROTECTED), *gpus())
        view.note_written(later(written_by(ours, FIELD_MANAGER), 2))
    show(view, namespace("default", **{"dra-operator.io/allocation": "disabled"}))
    verdict = look(view, user)
    assert all(isinstance(action, WriteClaimStatus) for action in verdict.actions)
    assert [write.allocation for write in writes(verdict)] == ([None] if known == "a rival came first" else [])
    assert verdict.requeue_after is not None


def test_the_node_is_the_one_of_the_allocation_and_not_what_was_assumed_for_a_write_that_failed() -> None:
    user = gated(claims=["mine"])
    ours = held(claim(name="mine", finalizers=PROTECTED), by=[user])
    view = view_of(user, ours, *gpus(), *gpus(node="node-b"))
    view.assume_placement(user.uid, "node-b")
    verdict = look(view, user)
    assert verdict.placement == "node-a"
    [action] = verdict.actions
    assert isinstance(action, PublishStatus)
    assert action.nominated == "node-a"


def test_whoever_came_first_is_not_disturbed() -> None:
    user = gated(claims=["mine"])
    ours, theirs = held(claim(name="mine", finalizers=PROTECTED), by=[user]), held(claim(name="theirs"))
    assert published(look(view_of(user, ours, theirs, *gpus()), user)).reason == "Allocated"


def test_what_an_ungated_pod_has_is_never_taken_back() -> None:
    user = pod(claims=["mine"])
    view, _ = rivals(user, by=[user])
    assert look(view, user).actions == ()


# --- nothing free: hold or hand over ---------------------------------------------------------------------------------


def full(since: float | None = None) -> tuple[View, Pod]:
    """The only device is another's. `since`: when the pod was told to wait."""
    user = gated(claims=["mine"])
    if since is not None:
        user = says(user, "DevicesInUse", "m", since=since)
    taken = held(claim(name="taken"), by=[pod("runner", claims=["taken"], node_name="node-a")])
    return view_of(user, claim(name="mine", finalizers=PROTECTED), taken, *gpus()), user


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


# --- telling ---------------------------------------------------------------------------------------------------------


def test_a_reason_is_told_in_an_event_once() -> None:
    view, user = full()
    first = look(view, user)
    [notice] = first.notices
    assert (notice.type, notice.reason) == ("Warning", "DevicesInUse")
    told = says(user, "DevicesInUse", published(first).message)
    show(view, told)
    again = look(view, told)
    assert (again.actions, again.notices) == ((), ())
    assert again.waits


def test_another_reason_is_told_again() -> None:
    view, user = full()
    show(view, says(user, "ClassNotFound", "m"))
    [notice] = look(view, user).notices
    assert notice.reason == "DevicesInUse"


def test_a_new_sentence_for_the_same_reason_is_no_event() -> None:
    view, user = full(since=NOW)
    verdict = look(view, user)
    assert published(verdict).reason == "DevicesInUse"
    assert verdict.notices == ()


def test_a_new_sentence_waits_until_it_is_due() -> None:
    view, user = full(since=NOW)
    view.message_written[user.uid] = NOW - 20
    verdict = look(view, user)
    assert verdict.actions == ()
    assert verdict.requeue_after == HOLD.condition_interval - 20


# --- not gated -------------------------------------------------------------------------------------------------------


def test_a_pod_that_is_bound_already_gets_its_claim_reserved() -> None:
    bound = pod(claims=["mine"], node_name="node-a")
    mine = held(claim(name="mine"))
    [write] = writes(look(view_of(bound, mine, *gpus()), bound))
    assert write.allocation == mine.status.allocation
    assert users(write) == [bound.uid]


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


def test_evict_leaves_a_pod_that_nobody_would_replace() -> None:
    view, user = stuck(300)
    assert published(look(view, user, EVICT)).reason == "UnschedulableAfterPin"


def test_evict_is_not_the_default() -> None:
    view, user = stuck(10_000, owned=True)
    assert published(look(view, user, REPORT)).reason == "UnschedulableAfterPin"


# --- remembered answers ----------------------------------------------------------------------------------------------


def test_equal_waiting_pods_get_one_answer_until_something_is_freed() -> None:
    view, user = full()
    other = gated("other", claims=["another"])
    show(view, other, claim(name="another", finalizers=PROTECTED))
    decider = Decider(view)
    first = decider.place(user, [claim(name="mine")])
    assert decider.place(other, [claim(name="another")]) is first
    view.wakeups.epoch += 1
    assert decider.place(other, [claim(name="another")]) is not first


def test_a_pod_that_asks_for_something_else_gets_its_own_answer() -> None:
    view, user = full()
    decider = Decider(view)
    first = decider.place(user, [claim()])
    assert decider.place(user, [claim(request(count=2))]) is not first


def test_a_look_changes_nothing_that_it_looks_at() -> None:
    view, user = full()
    assert look(view, user) == look(view, user)


# --- odd pods --------------------------------------------------------------------------------------------------------


def test_a_claim_that_two_entries_name_is_asked_for_once() -> None:
    mine = claim(name="mine", finalizers=PROTECTED)
    entries = tuple(PodResourceClaim(name=name, resource_claim_name="mine") for name in ("a", "b"))
    twice = gated("pod")
    twice = msgspec.structs.replace(twice, spec=msgspec.structs.replace(twice.spec, resource_claims=entries))
    verdict = look(view_of(*gpus(), mine, twice), twice)
    assert [type(action) for action in verdict.actions] == [WriteClaimStatus]


def test_containers_and_init_containers_do_not_ask_for_the_same() -> None:
    """Two containers need both their amounts at once; an init container is over before the container starts."""
    small = node(allocatable={"cpu": "6", "memory": "64Gi", "pods": "110"})
    four = container({"cpu": "4"})
    claims = claim(name="one", finalizers=PROTECTED), claim(name="two", finalizers=PROTECTED)
    both = pod("both", claims=["one"], containers=[four, four], gates=[GATE])
    after = pod("after", claims=["two"], containers=[four], init_containers=[four], gates=[GATE])
    view = view_of(small, slice_of(gpus=2), device_class(), *claims, both, after)
    decider = Decider(view)
    assert isinstance(decider.place(both, [claims[0]]), Unschedulable)
    assert isinstance(decider.place(after, [claims[1]]), Placement)
