"""What a gated pod that has to wait gives back, and what it leaves to others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dra_operator.api.core import Pod
from dra_operator.api.names import FIELD_MANAGER
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.actions import (
    PublishStatus,
    WriteClaimStatus,
)
from dra_operator.lifecycle.policy import Policy
from dra_operator.lifecycle.view import View
from tests.builders import (
    claim,
    pod,
)
from tests.unit.lifecycle.scene import (
    PROTECTED,
    devices,
    gated,
    generated,
    gpus,
    held,
    later,
    look,
    namespace,
    published,
    show,
    users,
    view_of,
    waits,
    writes,
    written_by,
)

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
    assert verdict.requeue_after == Policy().conflict_retry
    show(view, later(claim(name="mine", finalizers=PROTECTED), 2))
    assert devices(writes(look(view, user))[0]) == ["node-a/gpu-1"]


def test_a_disputed_allocation_that_others_use_too_is_left_to_them() -> None:
    user, runner = gated(claims=["mine"]), pod("runner", claims=["mine"], node_name="node-a")
    view, ours = rivals(user, by=[user, runner])
    [write] = writes(look(view, user))
    assert write.allocation == ours.status.allocation
    assert [one.uid for one in write.reserved_for] == [runner.uid]
    show(view, later(held(ours, by=[runner]), 2))
    verdict = look(view, user)
    assert published(verdict).reason == "Conflict"
    assert verdict.requeue_after is not None


def test_gated_pods_that_share_a_disputed_allocation_leave_it_one_after_the_other() -> None:
    """Or each would wait for the others to give it back, for ever."""
    user, other = gated(claims=["mine"]), gated("other", claims=["mine"])
    view, ours = rivals(user, by=[user, other])
    show(view, other)
    [write] = writes(look(view, user))
    assert [one.uid for one in write.reserved_for] == [other.uid]
    show(view, later(held(ours, by=[other]), 2))
    [write] = writes(look(view, other))
    assert (write.allocation, write.reserved_for) == (None, ())
    show(view, later(claim(name="mine", finalizers=PROTECTED), 3))
    assert devices(writes(look(view, user))[0]) == ["node-a/gpu-1"]


def test_a_pod_that_waits_for_others_to_give_back_holds_nothing_else_meanwhile() -> None:
    user, runner = gated(claims=["mine", "own"]), pod("runner", claims=["mine"], node_name="node-a")
    view, _ = rivals(user, by=[runner])
    own = held(claim(name="own", finalizers=PROTECTED), "node-a/gpu-1", by=[user])
    show(view, own)
    [write] = writes(look(view, user))
    assert (write.key, write.allocation) == (own.key, None)


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
