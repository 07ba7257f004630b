"""Without leader election: who may announce what, and what has to be written before devices are taken back."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from dra_operator.api.core import Pod
from dra_operator.api.meta import ManagedFieldsEntry, ObjectKey
from dra_operator.api.names import FIELD_MANAGER
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.actions import Conflict, Done, PublishStatus, Ungate, WriteClaimStatus
from dra_operator.lifecycle.pin import pin
from dra_operator.lifecycle.unelected import PATIENCE, Unelected, seen
from dra_operator.lifecycle.verdict import NOTHING, Verdict
from dra_operator.lifecycle.view import View
from tests.builders import template
from tests.unit.lifecycle.scene import NOW, gated, generated, gpus, held, later, look, publishes, says, show, view_of

USER = gated(templates=["template"])
MADE = generated(USER)
HELD = later(held(MADE, by=[USER]), 5)
NAMES = {"template": MADE.metadata.name}


def at(user: Pod, version: int) -> Pod:
    meta = msgspec.structs.replace(user.metadata, resource_version=str(version))
    return msgspec.structs.replace(user, metadata=meta)


def unelected(*objects: Pod | ResourceClaim, met: Callable[[ObjectKey], None] = lambda key: None) -> View:
    view = View(Unelected(alone=False, met=met))
    show(view, *gpus(), template(), *objects)
    return view


def allocates(view: View) -> ResourceClaim:
    """We allocate the pod's claim, which the mirror then shows."""
    verdict = look(view, USER)
    [write] = verdict.actions
    assert isinstance(write, WriteClaimStatus)
    pod = view.pod(USER.uid)
    assert pod is not None
    view.unelected.begin(pod, verdict.actions)
    view.unelected.settle(write, Done(HELD))
    show(view, HELD)
    return HELD


def announces(verdict: Verdict) -> bool:
    return any(isinstance(action, PublishStatus) and _says_so(action) for action in verdict.actions)


def _says_so(action: PublishStatus) -> bool:
    return action.condition is not None and action.condition.status


# --- announcing ------------------------------------------------------------------------------------------------------


def test_what_we_allocated_is_announced_at_once() -> None:
    view = unelected(USER, MADE)
    allocates(view)
    assert announces(look(view, USER))


def test_what_we_allocated_is_announced_although_something_else_about_the_pod_changed() -> None:
    view = unelected(USER, MADE)
    allocates(view)
    show(view, at(publishes(USER, NAMES), 7))
    assert announces(look(view, USER))


def test_what_another_allocated_is_left_to_it_for_a_while() -> None:
    view = unelected(USER, HELD)
    verdict = look(view, USER)
    assert (verdict.actions, verdict.left_to_another, verdict.requeue_after) == ((), True, PATIENCE)


def test_what_another_does_not_go_on_with_is_taken_back() -> None:
    view = unelected(USER, HELD)
    view.unelected.note_left(USER.uid, NOW, left=True)
    verdict = look(view, USER, now=NOW + PATIENCE)
    assert verdict.reason is Reason.CONFLICT
    assert verdict.renounces == seen([HELD])


def test_patience_does_not_outlive_a_clock_that_was_set_back() -> None:
    view = unelected(USER, HELD)
    view.unelected.note_left(USER.uid, NOW + 1000, left=True)
    assert look(view, USER).requeue_after == PATIENCE


def test_a_write_that_failed_gives_no_right_to_announce() -> None:
    view = unelected(USER, MADE)
    verdict = look(view, USER)
    view.unelected.begin(USER, verdict.actions)
    view.unelected.settle(verdict.actions[0], Conflict("another was faster"))
    show(view, HELD)
    assert look(view, USER).left_to_another


def test_a_condition_that_another_wrote_since_takes_the_right_away() -> None:
    """It is about to take the devices back."""
    view = unelected(USER, MADE)
    allocates(view)
    show(view, at(says(publishes(USER, NAMES), "NodeUnsuitable"), 7))
    assert look(view, USER).left_to_another


def test_a_condition_of_our_own_does_not() -> None:
    view = unelected(USER, MADE)
    allocates(view)
    said = PublishStatus(USER.key, USER.uid, USER.metadata.resource_version, (), None)
    told = at(says(publishes(USER, NAMES), "NodeUnsuitable"), 7)
    view.unelected.begin(USER, [said])
    view.unelected.settle(said, Done(told))
    show(view, told)
    assert announces(look(view, told))


def announced(node: str) -> Pod:
    told = at(says(publishes(USER, NAMES), "Allocated", "1 device in 1 claim"), 7)
    return msgspec.structs.replace(told, status=msgspec.structs.replace(told.status, nominated_node_name=node))


def test_who_is_announced_may_be_ungated_by_anybody() -> None:
    told = announced("node-a")
    [action] = look(unelected(told, HELD), told).actions
    assert isinstance(action, Ungate)
    assert (action.resource_version, action.required) == ("7", pin(told, "node-a"))


@pytest.mark.parametrize("node", ["node-b", ""])
def test_but_not_by_who_sees_claims_that_are_not_those_that_were_announced(node: str) -> None:
    """Another took them back and allocated them anew: we would pin the pod to the node of before."""
    told = announced(node)
    verdict = look(unelected(told, HELD), told)
    assert (verdict.actions, verdict.left_to_another, verdict.requeue_after) == ((), True, PATIENCE)


# --- taking back -----------------------------------------------------------------------------------------------------


def test_devices_are_taken_back_only_after_the_pod_was_told() -> None:
    """The mirror may show it gated, and never told anything, long after it was ungated."""
    alone, view = view_of(*gpus(), template(), USER, HELD), unelected(USER, HELD)
    for each in (alone, view):
        each.forget_node("node-a")
    assert isinstance(look(alone, USER).actions[0], WriteClaimStatus), "one who is alone knows its own writes"
    view.unelected.note_left(USER.uid, NOW - PATIENCE, left=True)

    first = look(view, USER)
    assert [type(action) for action in first.actions] == [PublishStatus]
    view.unelected.note_renounced(USER.uid, first.renounces)
    [write] = look(view, USER).actions
    assert isinstance(write, WriteClaimStatus)
    assert (write.resource_version, write.reserved_for) == (HELD.metadata.resource_version, ())


def test_so_are_those_of_a_second_claim_for_the_same_entry() -> None:
    """Another generator's claim is published, and who allocated ours may be about to say so."""
    second = later(held(generated(USER, name="second"), by=[USER]), 5)
    told = at(publishes(USER, NAMES), 6)
    view = unelected(told, MADE, second)
    [write] = look(view, told).actions
    assert isinstance(write, PublishStatus)
    assert write.condition is not None
    assert not write.condition.status
    view.unelected.note_renounced(told.uid, seen([second]))
    [taken] = look(view, told).actions
    assert isinstance(taken, WriteClaimStatus)
    assert (taken.key, taken.allocation) == (second.key, None)


def test_a_claim_that_changed_since_is_not_taken_back() -> None:
    view = unelected(USER, HELD)
    view.unelected.note_left(USER.uid, NOW - PATIENCE, left=True)
    view.unelected.note_renounced(USER.uid, seen([HELD]))
    show(view, later(HELD, 6))
    assert look(view, USER).renounces == seen([later(HELD, 6)])


def test_what_the_condition_says_already_is_said_in_other_words_and_back() -> None:
    view = unelected(USER, HELD)
    view.unelected.note_left(USER.uid, NOW - PATIENCE, left=True)
    told, texts = USER, []
    for version in range(7, 10):
        [write] = look(view, told).actions
        assert isinstance(write, PublishStatus)
        assert write.condition is not None
        texts.append(write.condition.message)
        told = at(says(publishes(USER, NAMES), write.condition.reason, write.condition.message), version)
        show(view, told)
    assert texts[0] == texts[2] != texts[1]


# --- being told of it ------------------------------------------------------------------------------------------------


def test_another_that_allocates_is_noticed() -> None:
    met: list[ObjectKey] = []
    view = unelected(USER, MADE, met=met.append)
    entry = ManagedFieldsEntry(manager=FIELD_MANAGER, operation="Update", subresource="status")
    meta = msgspec.structs.replace(HELD.metadata, managed_fields=(entry,))
    show(view, msgspec.structs.replace(HELD, metadata=meta))
    assert met == [HELD.key]


def test_our_own_allocation_and_kube_schedulers_are_no_others() -> None:
    met: list[ObjectKey] = []
    view = unelected(USER, MADE, met=met.append)
    show(view, HELD)  # no entry of ours in managedFields
    allocation = HELD.status.allocation
    assert allocation is not None
    view.forget_claim(HELD.key)
    show(view, MADE)
    view.assume_allocation(MADE, allocation)
    show(view, HELD)
    assert met == []
    assert look(view, gated("elsewhere")) == NOTHING
