"""Whose turn it is to generate a claim: what is learned of the other generator, and what a pod is told meanwhile."""

from __future__ import annotations

import math

import msgspec
import pytest

from dra_operator.api.meta import ManagedFieldsEntry, Uid
from dra_operator.api.names import FIELD_MANAGER
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.actions import CreateClaim, PublishStatus
from dra_operator.lifecycle.policy import ClaimsMode, Policy
from dra_operator.lifecycle.turns import KNOWN_PATIENCE, MISSES, SILENCE, Turns, made_by_another
from dra_operator.lifecycle.view import View
from tests.builders import claim, pod, template
from tests.unit.lifecycle.scene import NOW, gated, generated, gpus, look, made_by, show_list, view_of

AUTO, ADOPT, GENERATE = (Policy(claims=mode) for mode in (ClaimsMode.AUTO, ClaimsMode.ADOPT, ClaimsMode.GENERATE))
USER = gated(templates=["template"])
STOCK = "kube-controller-manager"


def patience(turns: Turns) -> float:
    return turns.patience(ClaimsMode.AUTO)


def miss(turns: Turns, pods: int = MISSES) -> None:
    """So many pods wait in vain."""
    for number in range(pods):
        turns.begin(Uid(f"pod-{number}"), NOW)
        turns.note_missed(Uid(f"pod-{number}"))


def theirs(of: ResourceClaim | None = None) -> ResourceClaim:
    return made_by(STOCK, of or generated(USER))


# --- what is learned -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "seconds"), [(ClaimsMode.GENERATE, 0.0), (ClaimsMode.ADOPT, math.inf)])
def test_a_mode_that_is_set_is_not_learned(mode: ClaimsMode, seconds: float) -> None:
    turns = Turns()
    assert turns.patience(mode) == seconds
    miss(turns)
    turns.note_new(theirs())
    assert turns.patience(mode) == seconds


def test_three_pods_in_vain_and_nobody_waits_any_more() -> None:
    turns = Turns()
    assert patience(turns) == SILENCE
    miss(turns, MISSES - 1)
    assert patience(turns) == SILENCE
    miss(turns)
    assert patience(turns) == 0


def test_a_clock_that_was_set_back_makes_nobody_wait_for_longer() -> None:
    turns = Turns()
    turns.begin(USER.uid, NOW)
    assert turns.waited(USER.uid, NOW - 3600) == 0
    assert turns.waited(USER.uid, NOW - 3590) == 10


def test_the_same_pod_counts_once() -> None:
    turns = Turns()
    for _ in range(MISSES):
        miss(turns, 1)
    assert patience(turns) == SILENCE


def test_a_pod_that_did_not_wait_proves_nothing() -> None:
    turns = Turns()
    for number in range(MISSES):
        turns.note_missed(Uid(f"pod-{number}"))
    assert patience(turns) == SILENCE


def test_a_claim_of_the_other_is_waited_for_longer() -> None:
    turns = Turns()
    turns.note_new(theirs())
    assert patience(turns) == KNOWN_PATIENCE


def test_what_was_learned_is_unlearned() -> None:
    turns = Turns()
    miss(turns)
    turns.note_new(theirs())
    assert patience(turns) == KNOWN_PATIENCE
    miss(turns)
    assert patience(turns) == 0


def test_a_claim_of_the_other_starts_the_count_anew() -> None:
    turns = Turns()
    miss(turns, MISSES - 1)
    turns.note_new(theirs())
    miss(turns, MISSES - 1)
    assert patience(turns) == KNOWN_PATIENCE


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(made_by(FIELD_MANAGER, generated(USER)), id="ours"),
        pytest.param(made_by(STOCK, claim()), id="a user's own"),
        pytest.param(generated(USER), id="by nobody knows whom"),
    ],
)
def test_other_claims_say_nothing_of_the_other_generator(made: ResourceClaim) -> None:
    assert not made_by_another(made)


def test_what_the_other_does_to_our_claim_does_not_make_it_its_own() -> None:
    ours = made_by(FIELD_MANAGER, generated(USER))
    entries = (*(ours.metadata.managed_fields or ()), ManagedFieldsEntry(manager=STOCK, operation="Update"))
    meta = msgspec.structs.replace(ours.metadata, managed_fields=entries)
    assert not made_by_another(msgspec.structs.replace(ours, metadata=meta))


def test_the_other_is_known_by_its_claim_whatever_its_program_is_called() -> None:
    assert made_by_another(made_by("k3s", generated(USER)))


def test_only_a_claim_that_comes_while_we_watch_is_news() -> None:
    view = view_of(USER)
    show_list(view, theirs(), version="10")
    assert patience(view.turns) == SILENCE
    view.observe_claim(theirs(), live=True)  # an update of what is known
    assert patience(view.turns) == SILENCE
    view.observe_claim(theirs(generated(pod("other", templates=["template"]))), live=True)
    assert patience(view.turns) == KNOWN_PATIENCE


# --- what a pod does meanwhile ---------------------------------------------------------------------------------------


def cluster() -> View:
    return view_of(USER, template(), *gpus())


@pytest.mark.parametrize("policy", [AUTO, ADOPT])
def test_for_a_while_nothing_is_written_about_a_claim_that_may_come(policy: Policy) -> None:
    verdict = look(cluster(), USER, policy)
    assert verdict.awaits_claims
    assert (verdict.actions, verdict.notices, verdict.reason) == ((), (), None)
    assert verdict.requeue_after == SILENCE


def test_in_auto_the_claim_is_ours_to_make_after_that() -> None:
    view = cluster()
    view.turns.begin(USER.uid, NOW)
    assert look(view, USER, AUTO, now=NOW + SILENCE - 1).requeue_after == 1
    [action] = look(view, USER, AUTO, now=NOW + SILENCE).actions
    assert isinstance(action, CreateClaim)


def test_in_adopt_nothing_is_ever_created_and_the_pod_is_told_who_does() -> None:
    view = cluster()
    view.turns.begin(USER.uid, NOW)
    verdict = look(view, USER, ADOPT, now=NOW + SILENCE)
    [write] = verdict.actions
    assert isinstance(write, PublishStatus)
    assert verdict.reason is Reason.CLAIM_NOT_FOUND
    assert '"default/template"' in verdict.message
    assert "resourceclaim-controller" in verdict.message
    assert verdict.awaits_claims
    assert verdict.requeue_after is None


def test_a_generator_that_is_known_and_slow_is_named_and_then_replaced() -> None:
    view = cluster()
    view.turns.note_new(theirs(generated(pod("other", templates=["template"]))))
    view.turns.begin(USER.uid, NOW)
    verdict = look(view, USER, AUTO, now=NOW + SILENCE)
    assert verdict.reason is Reason.CLAIM_NOT_FOUND
    assert verdict.requeue_after == KNOWN_PATIENCE - SILENCE
    [action] = look(view, USER, AUTO, now=NOW + KNOWN_PATIENCE).actions
    assert isinstance(action, CreateClaim)


@pytest.mark.parametrize("policy", [AUTO, ADOPT, GENERATE])
def test_a_missing_template_is_told_at_once_whoever_generates(policy: Policy) -> None:
    verdict = look(view_of(USER, *gpus()), USER, policy)
    assert verdict.reason is Reason.TEMPLATE_NOT_FOUND
    assert not verdict.awaits_claims


@pytest.mark.parametrize("policy", [AUTO, ADOPT])
def test_the_claim_that_comes_is_taken_as_it_is(policy: Policy) -> None:
    view = cluster()
    view.turns.begin(USER.uid, NOW)
    view.observe_claim(theirs(generated(USER, name="pod-template-x7k2p")), live=True)
    verdict = look(view, USER, policy, now=NOW + 1)
    assert not verdict.awaits_claims
    assert verdict.placement == "node-a"
