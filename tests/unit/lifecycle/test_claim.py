"""What becomes of a claim when pods end: who is taken out, when devices come back, what is deleted and what never."""

from __future__ import annotations

import msgspec
import pytest

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.names import DELETE_PROTECTION_FINALIZER, FIELD_MANAGER
from dra_operator.api.resource import ResourceClaim, ResourceClaimConsumerReference
from dra_operator.lifecycle.actions import Action, DeleteClaim, ReadPod, SetFinalizers, WriteClaimStatus
from dra_operator.lifecycle.claim import DELETE_AGAIN, owning_pod, reconcile_claim
from dra_operator.lifecycle.view import View
from tests.builders import claim, pod
from tests.unit.lifecycle.scene import PROTECTED, generated, held, owned_by, view_of, written_by

OTHERS_FINALIZER = "example.com/theirs"


def step(view: View, of: ResourceClaim) -> tuple[Action, ...]:
    return reconcile_claim(view, of.key).actions


def release(of: ResourceClaim, *stay: Pod) -> WriteClaimStatus:
    """The write that leaves only these pods; the last one out takes the allocation with it."""
    left = tuple(ResourceClaimConsumerReference(resource="pods", name=one.metadata.name, uid=one.uid) for one in stay)
    return WriteClaimStatus(of.key, of.uid, "1", of.status.allocation if stay else None, left)


def unprotect(of: ResourceClaim, *stay: str) -> SetFinalizers:
    return SetFinalizers(of.key, of.uid, "1", stay)


def delete(of: ResourceClaim) -> DeleteClaim:
    return DeleteClaim(of.key, of.uid, "1")


def without(view: View, gone: Pod, *, certain: bool = True) -> View:
    """The view after the pod vanished; `certain`: its deletion was watched."""
    view.observe_pod(gone)
    view.forget_pod(gone.uid, certain=certain)
    return view


RUNNER = pod("runner", claims=["claim"], node_name="node-a", phase="Running")


# --- who still uses it -----------------------------------------------------------------------------------------------


def test_a_claim_whose_pod_runs_is_left_alone() -> None:
    mine = held(claim(), by=[RUNNER])
    assert step(view_of(RUNNER, mine), mine) == ()


def test_a_claim_that_nobody_knows_is_nothing_to_do() -> None:
    assert reconcile_claim(view_of(), ObjectKey("default", "claim")).actions == ()


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_ended_gives_its_device_back(phase: str) -> None:
    ended = pod("runner", claims=["claim"], node_name="node-a", phase=phase)
    mine = held(claim(), by=[ended])
    assert step(view_of(ended, mine), mine) == (release(mine),)


def test_a_running_pod_in_its_grace_period_keeps_its_device() -> None:
    going = pod("runner", claims=["claim"], node_name="node-a", phase="Running", deleted=True)
    mine = held(claim(), by=[going])
    assert step(view_of(going, mine), mine) == ()


def test_a_pod_deleted_before_it_had_a_node_gives_its_device_back() -> None:
    going = pod("runner", claims=["claim"], deleted=True)
    mine = held(claim(), by=[going])
    assert step(view_of(going, mine), mine) == (release(mine),)


def test_a_pod_whose_deletion_was_watched_gives_its_device_back() -> None:
    mine = held(claim(), by=[RUNNER])
    assert step(without(view_of(mine), RUNNER), mine) == (release(mine),)


def test_a_pod_that_is_merely_absent_is_looked_up_first() -> None:
    mine = held(claim(), by=[RUNNER])
    assert step(without(view_of(mine), RUNNER, certain=False), mine) == (ReadPod(RUNNER.key, RUNNER.uid),)


def test_a_pod_that_the_api_server_does_not_know_gives_its_device_back() -> None:
    mine = held(claim(), by=[RUNNER])
    view = view_of(mine)
    view.note_gone(RUNNER.uid)
    assert step(view, mine) == (release(mine),)


def test_a_pod_replaced_under_its_name_is_not_the_one_that_uses_the_claim() -> None:
    first, second = pod("same", uid="first", node_name="node-a"), pod("same", uid="second", claims=["claim"])
    mine = held(claim(), by=[first])
    assert step(view_of(mine, first, second), mine) == (release(mine),)


def test_the_others_keep_a_shared_claim_when_one_pod_ends() -> None:
    ended = pod("ended", claims=["claim"], node_name="node-a", phase="Succeeded")
    mine = held(claim(), by=[ended, RUNNER])
    assert step(view_of(ended, RUNNER, mine), mine) == (release(mine, RUNNER),)


def test_all_that_are_done_go_in_one_write() -> None:
    ended = [pod(name, claims=["claim"], node_name="node-a", phase="Succeeded") for name in ("a", "b")]
    mine = held(claim(), by=ended)
    assert step(view_of(*ended, mine), mine) == (release(mine),)


def test_who_is_known_to_be_done_goes_before_others_are_looked_up() -> None:
    ended = pod("ended", claims=["claim"], phase="Succeeded")
    mine = held(claim(), by=[ended, RUNNER])
    assert step(view_of(ended, mine), mine) == (release(mine, RUNNER),)


def test_a_consumer_that_is_no_pod_stays() -> None:
    job = ResourceClaimConsumerReference(api_group="example.com", resource="jobs", name="train", uid=Uid("job"))
    taken = held(claim(), by=[pod("ended")])
    mine = msgspec.structs.replace(
        taken, status=msgspec.structs.replace(taken.status, reserved_for=(job, *(taken.status.reserved_for or ())))
    )
    view = without(view_of(mine), pod("ended"))
    assert step(view, mine) == (WriteClaimStatus(mine.key, mine.uid, "1", mine.status.allocation, (job,)),)


# --- nobody uses it: the allocation ----------------------------------------------------------------------------------


def test_an_allocation_of_ours_that_nobody_uses_or_names_is_swept() -> None:
    mine = written_by(held(claim()), FIELD_MANAGER)
    assert step(view_of(mine), mine) == (release(mine),)


def test_an_allocation_of_someone_else_is_left_alone() -> None:
    theirs = written_by(held(claim()), "kube-scheduler")
    assert step(view_of(theirs), theirs) == ()


def test_having_set_the_finalizer_does_not_make_an_allocation_ours() -> None:
    theirs = written_by(held(claim(finalizers=PROTECTED)), FIELD_MANAGER, subresource="")
    assert step(view_of(theirs), theirs) == ()


def test_an_allocation_whose_claim_a_live_pod_names_is_left_alone() -> None:
    mine = written_by(held(claim()), FIELD_MANAGER)
    assert step(view_of(mine, pod("waiting", claims=["claim"])), mine) == ()


def test_a_pod_that_ended_does_not_count_as_naming_the_claim() -> None:
    mine = written_by(held(claim()), FIELD_MANAGER)
    assert step(view_of(mine, pod("ended", claims=["claim"], phase="Succeeded")), mine) == (release(mine),)


def test_a_claim_deleted_while_allocated_to_nobody_is_deallocated_whoever_allocated_it() -> None:
    theirs = written_by(held(claim(finalizers=[OTHERS_FINALIZER, *PROTECTED], deleted=True)), "kube-scheduler")
    assert step(view_of(theirs), theirs) == (release(theirs),)


def test_a_claim_that_only_its_protection_keeps_goes_with_its_devices_in_one_write() -> None:
    ended = pod("ended", claims=["claim"], node_name="node-a", phase="Succeeded")
    mine = held(claim(finalizers=PROTECTED, deleted=True), by=[ended])
    assert step(view_of(ended, mine), mine) == (unprotect(mine),)


def test_a_claim_that_is_deleted_and_that_nothing_keeps_is_nothing_to_do() -> None:
    mine = held(claim(deleted=True))
    assert step(view_of(mine), mine) == ()


def test_a_generated_claim_allocated_ahead_of_its_pod_is_left_alone() -> None:
    user = pod("user", templates=["template"])
    theirs = written_by(held(generated(user)), FIELD_MANAGER)
    assert step(view_of(user, theirs), theirs) == ()


# --- nobody uses it: the finalizer -----------------------------------------------------------------------------------


def test_a_claim_that_is_deleted_and_free_loses_its_protection() -> None:
    mine = claim(finalizers=PROTECTED, deleted=True)
    assert step(view_of(mine), mine) == (unprotect(mine),)


def test_finalizers_of_others_stay() -> None:
    mine = claim(finalizers=[OTHERS_FINALIZER, DELETE_PROTECTION_FINALIZER], deleted=True)
    assert step(view_of(mine), mine) == (unprotect(mine, OTHERS_FINALIZER),)


def test_a_claim_that_only_others_still_hold_is_nothing_to_do() -> None:
    mine = claim(finalizers=[OTHERS_FINALIZER], deleted=True)
    assert step(view_of(mine), mine) == ()


def test_a_claim_in_use_keeps_its_protection_when_it_is_deleted() -> None:
    mine = held(claim(finalizers=PROTECTED, deleted=True), by=[RUNNER])
    assert step(view_of(RUNNER, mine), mine) == ()


def test_a_users_claim_that_nobody_names_loses_the_protection_that_it_no_longer_needs() -> None:
    mine = claim(finalizers=PROTECTED)
    assert step(view_of(mine), mine) == (unprotect(mine),)


def test_a_claim_that_a_waiting_pod_names_keeps_its_protection() -> None:
    mine = claim(finalizers=PROTECTED)
    assert step(view_of(mine, pod("waiting", claims=["claim"])), mine) == ()


def test_a_generated_claim_of_a_waiting_pod_keeps_its_protection() -> None:
    user = pod("user", templates=["template"])
    mine = generated(user)
    assert step(view_of(user, mine), mine) == ()


# --- nobody uses it: deletion ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("finalizers", [(), PROTECTED])
def test_a_users_own_claim_is_never_deleted(finalizers: tuple[str, ...]) -> None:
    ended = pod("ended", claims=["claim"], phase="Succeeded")
    mine = claim(finalizers=finalizers)
    assert not [action for action in step(view_of(ended, mine), mine) if isinstance(action, DeleteClaim)]


def test_what_was_deleted_is_not_deleted_again_while_the_mirror_still_shows_it() -> None:
    user = pod("user", templates=["template"], node_name="node-a", phase="Succeeded")
    mine = generated(user, finalizers=())
    verdict = reconcile_claim(view_of(user, mine), mine.key)
    assert (verdict.actions, verdict.requeue_after) == ((delete(mine),), DELETE_AGAIN)


def test_the_claim_of_a_pod_that_ended_is_deleted_then_unprotected_and_goes_with_its_devices() -> None:
    user = pod("user", templates=["template"], node_name="node-a", phase="Succeeded")
    used = held(generated(user), by=[user])
    assert step(view_of(user, used), used) == (delete(used),)
    going = held(generated(user, deleted=True), by=[user])
    assert step(view_of(user, going), going) == (unprotect(going),)


def test_the_claim_of_a_pod_that_ended_stays_as_long_as_another_pod_runs_with_it() -> None:
    user = pod("user", templates=["template"], node_name="node-a", phase="Succeeded")
    mine = held(generated(user), by=[user, RUNNER])
    assert step(view_of(user, RUNNER, mine), mine) == (release(mine, RUNNER),)


def test_the_claim_of_a_pod_that_is_gone_is_deleted() -> None:
    user = pod("user", templates=["template"])
    mine = generated(user, finalizers=())
    assert step(without(view_of(mine), user), mine) == (delete(mine),)


# --- nobody uses it: the garbage collector's turn --------------------------------------------------------------------


def collected(mine: ResourceClaim, user: Pod, seconds: float = 0.0) -> View:
    """The view so many seconds after the pod went, in a cluster whose garbage collector has a second."""
    view = view_of(mine)
    view.collector_seconds = 1.0
    without(view, user)
    view.now = lambda: seconds
    return view


def test_the_claim_of_a_pod_that_is_gone_is_the_garbage_collectors_to_delete() -> None:
    user = pod("user", templates=["template"], node_name="node-a")
    mine = held(generated(user), by=[user])
    verdict = reconcile_claim(collected(mine, user, 0.25), mine.key)
    assert (verdict.actions, verdict.requeue_after) == ((), 0.75)


def test_what_the_garbage_collector_marked_goes_in_one_write() -> None:
    user = pod("user", templates=["template"], node_name="node-a")
    mine = held(generated(user, deleted=True), by=[user])
    assert step(collected(mine, user), mine) == (unprotect(mine),)


@pytest.mark.parametrize("seconds", [1.0, -5.0], ids=["its turn is over", "the clock was set back"])
def test_what_the_garbage_collector_leaves_is_deleted(seconds: float) -> None:
    user = pod("user", templates=["template"], node_name="node-a")
    mine = held(generated(user), by=[user])
    assert step(collected(mine, user, seconds), mine) == (delete(mine),)


def test_that_a_pod_is_gone_is_learnt_once() -> None:
    user = pod("user", templates=["template"])
    mine = generated(user)
    view = collected(mine, user, 1.0)
    view.note_gone(user.uid)
    assert step(view, mine) == (delete(mine),)


def test_the_claim_of_a_pod_that_ended_and_still_exists_is_not_the_garbage_collectors() -> None:
    user = pod("user", templates=["template"], node_name="node-a", phase="Succeeded")
    mine = held(generated(user), by=[user])
    view = view_of(user, mine)
    view.collector_seconds = 1.0
    assert step(view, mine) == (delete(mine),)


def test_a_users_own_claim_is_freed_at_once_when_its_pod_is_gone() -> None:
    mine = held(claim(), by=[RUNNER])
    assert step(collected(mine, RUNNER), mine) == (release(mine),)


# --- nobody uses it: certainty ---------------------------------------------------------------------------------------


def test_the_claim_of_a_pod_that_is_merely_absent_waits_for_certainty() -> None:
    user = pod("user", templates=["template"])
    mine = generated(user, finalizers=())
    assert step(view_of(mine), mine) == (ReadPod(user.key, user.uid),)


def test_an_allocation_left_by_a_pod_that_is_gone_goes_with_its_claim_whoever_wrote_it() -> None:
    user = pod("user", templates=["template"])
    theirs = written_by(held(generated(user)), "kube-scheduler")
    assert step(without(view_of(theirs), user), theirs) == (delete(theirs),)


def test_a_claim_is_deleted_once() -> None:
    user = pod("user", templates=["template"])
    going = generated(user, finalizers=(), deleted=True)
    assert step(without(view_of(going), user), going) == ()


def test_a_claim_that_something_else_than_a_pod_controls_is_a_users_own() -> None:
    job = msgspec.structs.replace(owned_by(pod("x")), kind="Job", api_version="batch/v1")
    mine = claim(owner=job)
    assert owning_pod(mine) is None
    assert step(view_of(mine), mine) == ()


# --- conditional -----------------------------------------------------------------------------------------------------


def test_every_write_is_conditional_on_what_was_read() -> None:
    mine = held(claim(version=42), by=[pod("ended")])
    [write] = step(without(view_of(mine), pod("ended")), mine)
    assert isinstance(write, WriteClaimStatus)
    assert (write.uid, write.resource_version) == (mine.uid, "42")
