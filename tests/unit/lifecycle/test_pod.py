"""The way of a pod, look by look: each look at a state of the cluster returns the writes of one step and no more."""

from __future__ import annotations

import msgspec
import pytest

from dra_operator.api.core import Pod, PodResourceClaim
from dra_operator.api.meta import ObjectKey
from dra_operator.api.reasons import Reason
from dra_operator.lifecycle.actions import (
    CreateClaim,
    DeleteClaim,
    PodCondition,
    PublishStatus,
    ReadClaim,
    WriteClaimStatus,
)
from dra_operator.lifecycle.generate import claim_name
from dra_operator.lifecycle.policy import ClaimsMode, Policy
from dra_operator.lifecycle.publish import timestamp
from dra_operator.lifecycle.refusal import Refusal
from dra_operator.lifecycle.turns import SILENCE
from dra_operator.lifecycle.verdict import NOTHING, Verdict
from tests.builders import (
    allocation,
    claim,
    pod,
    template,
)
from tests.unit.lifecycle.scene import (
    ALLOCATED,
    MADE,
    NAMES,
    NOW,
    PROTECTED,
    USER,
    devices,
    full,
    gated,
    generated,
    gpus,
    held,
    later,
    look,
    namespace,
    published,
    publishes,
    says,
    ungates,
    users,
    view_of,
    waits,
    writes,
)

UNGATED = pod(templates=["template"])

# --- step by step ----------------------------------------------------------------------------------------------------


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
    assert look(view, USER) == Verdict(requeue_after=Policy().confirm_timeout)


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
    view = view_of(user, ours, *gpus())
    view.note_claim_missing(ObjectKey("default", "deleted"))
    [write] = look(view, user).actions
    assert isinstance(write, PublishStatus)
    assert [status.resource_claim_name for status in write.claim_statuses] == ["ours"]
    assert write.force


@pytest.mark.parametrize("user", [USER, UNGATED], ids=["gated", "ungated"])
def test_a_published_claim_that_the_mirror_does_not_have_is_read_before_another_is_made(user: Pod) -> None:
    """The mirror of claims may be late, and the pod may run with the one it does not show."""
    told = publishes(user, {"template": "late"})
    view, late = view_of(told, template(), namespace(), *gpus()), generated(told, name="late")
    assert look(view, told).actions == (ReadClaim(late.key),)
    view.note_written(late)
    assert not any(isinstance(action, CreateClaim) for action in look(view, told).actions)
    view.forget_claim(late.key)
    assert look(view, told).actions == (ReadClaim(late.key),)
    view.note_claim_missing(late.key)
    [create] = look(view, told).actions
    assert isinstance(create, CreateClaim)


@pytest.mark.parametrize("user", [USER, UNGATED], ids=["gated", "ungated"])
def test_a_published_claim_that_the_mirror_does_not_have_is_read_before_another_is_published(user: Pod) -> None:
    """Else a pod that runs with the one is told of the other, and keeps both as long as it lives."""
    told = publishes(user, {"template": "late"})
    ours, late = generated(told, name="ours"), held(generated(told, name="late"), by=[told])
    view = view_of(told, ours, template(), namespace(), *gpus())
    assert look(view, told).actions == (ReadClaim(late.key),)
    view.note_written(late)
    assert look(view, told).actions == (DeleteClaim(ours.key, ours.uid, "1"),)


def test_a_published_claim_is_not_read_while_it_may_be_about_to_be_shown() -> None:
    """In the other generator's turn nothing is done in its place, so nothing has to be known."""
    told = publishes(USER, {"template": "late"})
    verdict = look(view_of(told, template(), *gpus()), told, Policy(claims=ClaimsMode.AUTO))
    assert (verdict.actions, verdict.awaits_claims) == ((), True)


def test_what_is_read_instead_of_making_a_claim_does_not_begin_the_others_turn_anew() -> None:
    told, policy = publishes(USER, {"template": "gone"}), Policy(claims=ClaimsMode.AUTO)
    view = view_of(told, template(), *gpus())
    assert not look(view, told).awaits_claims, "nobody is waited for"
    view.turns.begin(told.uid, NOW)
    verdict = look(view, told, policy, now=NOW + SILENCE)
    assert verdict.actions == (ReadClaim(ObjectKey("default", "gone")),)
    assert verdict.awaits_claims


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


def test_a_claim_that_two_entries_name_is_asked_for_once() -> None:
    mine = claim(name="mine", finalizers=PROTECTED)
    entries = tuple(PodResourceClaim(name=name, resource_claim_name="mine") for name in ("a", "b"))
    twice = gated("pod")
    twice = msgspec.structs.replace(twice, spec=msgspec.structs.replace(twice.spec, resource_claims=entries))
    verdict = look(view_of(*gpus(), mine, twice), twice)
    assert [type(action) for action in verdict.actions] == [WriteClaimStatus]


def test_a_look_changes_nothing_that_it_looks_at() -> None:
    view, user = full()
    assert look(view, user) == look(view, user)
