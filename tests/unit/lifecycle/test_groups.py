"""Pods of a PodGroup: a claim that the group has is theirs, and none is generated in its place."""

from __future__ import annotations

import math

import msgspec
import pytest

from dra_operator.api.core import Pod, PodSchedulingGroup
from dra_operator.api.meta import OwnerReference, Uid
from dra_operator.api.names import POD_CLAIM_NAME_ANNOTATION
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ResourceClaim, ResourceClaimConsumerReference
from dra_operator.lifecycle.actions import CreateClaim, WriteClaimStatus
from dra_operator.lifecycle.claim import reconcile_claim
from dra_operator.lifecycle.groups import is_reserved
from dra_operator.lifecycle.policy import ClaimsMode, Policy
from dra_operator.lifecycle.turns import KNOWN_PATIENCE, MISSES, SILENCE, Turns
from dra_operator.lifecycle.verdict import NOTHING
from tests.builders import claim, pod, template
from tests.unit.lifecycle.scene import NOW, PROTECTED, generated, gpus, held, look, made_by, publishes, view_of

GANG = "gang"
GENERATE = Policy(claims=ClaimsMode.GENERATE)


def member(name: str = "pod", *, group: str = GANG, node: str = "", claims: tuple[str, ...] = ()) -> Pod:
    """A pod of the PodGroup with one entry, the template's, or claims that it names."""
    one = pod(name, templates=() if claims else ("template",), claims=claims, node_name=node)
    spec = msgspec.structs.replace(one.spec, scheduling_group=PodSchedulingGroup(pod_group_name=group))
    return msgspec.structs.replace(one, spec=spec)


def shared(
    name: str = "gang-template-x", *, group: str = GANG, entry: str = "template", deleted: bool = False
) -> ResourceClaim:
    """The claim that was generated for the PodGroup."""
    api, uid = "scheduling.k8s.io/v1beta1", Uid(f"uid-of-{group}")
    owner = OwnerReference(api_version=api, kind="PodGroup", name=group, uid=uid, controller=True)
    return claim(name=name, owner=owner, annotations={POD_CLAIM_NAME_ANNOTATION: entry}, deleted=deleted)


def in_use(of: ResourceClaim, *, group: str = GANG) -> ResourceClaim:
    """The claim, allocated and reserved for the PodGroup."""
    user = ResourceClaimConsumerReference(
        api_group="scheduling.k8s.io", resource="podgroups", name=group, uid=Uid(f"uid-of-{group}")
    )
    there = held(of)
    return msgspec.structs.replace(there, status=msgspec.structs.replace(there.status, reserved_for=(user,)))


def generates(verdict_actions: tuple[object, ...]) -> bool:
    return any(isinstance(action, CreateClaim) for action in verdict_actions)


# --- a claim that the group has --------------------------------------------------------------------------------------


@pytest.mark.parametrize("published", [False, True])
def test_a_pod_uses_the_claim_of_its_group(published: bool) -> None:
    user = publishes(member(), {"template": "gang-template-x"}) if published else member()
    view = view_of(user, shared(), template(), *gpus())
    assert look(view, user, GENERATE, now=NOW + 3600) == NOTHING


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(shared(group="another"), id="of another group"),
        pytest.param(shared(entry="another"), id="for another entry"),
        pytest.param(claim(name="gang-template-x"), id="of nobody"),
    ],
)
def test_a_claim_that_is_not_of_its_group_is_not_its(other: ResourceClaim) -> None:
    user = member()
    view = view_of(user, other, template())
    view.turns.begin(user.uid, NOW)
    assert generates(look(view, user, GENERATE, now=NOW + SILENCE).actions)


def test_a_pod_that_has_a_claim_of_its_own_keeps_it() -> None:
    own = generated(member())
    user = publishes(member(), {"template": own.metadata.name})
    view = view_of(user, own, shared(), template())
    assert look(view, user, GENERATE) == NOTHING


def test_a_claim_of_the_group_that_is_being_deleted_is_not_replaced_by_one_of_the_pod() -> None:
    user = publishes(member(), {"template": "gang-template-x"})
    verdict = look(view_of(user, shared(deleted=True), template()), user, GENERATE)
    assert (verdict.actions, verdict.reason) == ((), Reason.CLAIM_DELETING)


def test_the_one_that_is_not_being_deleted_is_the_groups() -> None:
    user = member()
    view = view_of(user, shared("gang-template-a", deleted=True), shared("gang-template-b"), template())
    assert look(view, user, GENERATE) == NOTHING


# --- who is reserved -------------------------------------------------------------------------------------------------


def test_a_claim_that_is_reserved_for_the_group_is_not_reserved_for_its_pods() -> None:
    by_template = publishes(member("a", node="node-a"), {"template": "gang-template-x"})
    by_name = member("b", node="node-a", claims=("mine",))
    view = view_of(by_template, by_name, in_use(shared()), in_use(claim(name="mine")), template(), *gpus(2))
    assert look(view, by_template) == NOTHING
    assert look(view, by_name) == NOTHING


def test_a_claim_of_the_group_is_reserved_by_who_knows_the_group() -> None:
    user = publishes(member(node="node-a"), {"template": "gang-template-x"})
    assert look(view_of(user, held(shared()), template(), *gpus()), user) == NOTHING


def test_a_claim_that_is_reserved_for_another_group_is_reserved_for_the_pod() -> None:
    user = member(node="node-a", claims=("mine",))
    mine = in_use(claim(name="mine"), group="another")
    [action] = look(view_of(user, mine, *gpus()), user).actions
    assert isinstance(action, WriteClaimStatus)
    assert [one.resource for one in action.reserved_for] == ["podgroups", "pods"]
    assert not is_reserved(mine, user)


def test_a_claim_of_the_group_is_not_taken_from_it_though_none_of_its_pods_is_there() -> None:
    view = view_of(in_use(shared()))
    assert reconcile_claim(view, shared().key) == NOTHING


# --- who generates ---------------------------------------------------------------------------------------------------


def test_a_pod_of_a_group_is_waited_for_in_any_mode() -> None:
    turns = Turns()
    assert turns.patience(ClaimsMode.GENERATE, in_group=True) == SILENCE
    assert turns.patience(ClaimsMode.ADOPT, in_group=True) == math.inf
    assert turns.patience(ClaimsMode.AUTO, in_group=True) == KNOWN_PATIENCE
    for number in range(MISSES):
        turns.begin(Uid(f"pod-{number}"), NOW)
        turns.note_missed(Uid(f"pod-{number}"))
    assert turns.patience(ClaimsMode.AUTO, in_group=True) == SILENCE


def test_a_pod_of_a_group_that_lists_no_claim_gets_one_of_its_own_where_nobody_else_generates() -> None:
    user = member()
    view = view_of(user, template(), *gpus())
    first = look(view, user, GENERATE)
    assert (first.actions, first.awaits_claims) == ((), True)
    view.turns.begin(user.uid, NOW)
    assert generates(look(view, user, GENERATE, now=NOW + SILENCE).actions)


def test_a_claim_of_a_group_shows_that_another_generates() -> None:
    turns = Turns()
    turns.note_new(made_by("kube-controller-manager", shared()))
    assert turns.patience(ClaimsMode.AUTO) == KNOWN_PATIENCE


def test_a_claim_of_a_group_that_kube_scheduler_is_about_to_allocate_keeps_its_protection() -> None:
    claimed = shared()
    protected = msgspec.structs.replace(
        claimed, metadata=msgspec.structs.replace(claimed.metadata, finalizers=PROTECTED)
    )
    assert reconcile_claim(view_of(member(), protected), protected.key) == NOTHING
