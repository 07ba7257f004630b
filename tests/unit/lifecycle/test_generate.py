"""Generating claims: names that say whose they are, one claim a pod claim, and what stands in the way."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectMeta
from dra_operator.api.names import DELETE_PROTECTION_FINALIZER, POD_CLAIM_NAME_ANNOTATION
from dra_operator.api.reasons import Reason
from dra_operator.lifecycle.actions import PublishStatus
from dra_operator.lifecycle.generate import (
    Blocked,
    Found,
    NotNeeded,
    Resolution,
    ToCreate,
    build_claim,
    claim_name,
    generated_for,
    resolve,
)
from dra_operator.lifecycle.view import View
from tests.builders import claim, pod, request, template
from tests.unit.lifecycle.scene import gated, generated, gpus, held, look, namespace, owned_by, publishes, view_of

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
POD_NAMES = st.lists(LABEL, min_size=1, max_size=6).map(lambda labels: ".".join(labels)[:253].rstrip(".-"))
ADMIN = "resource.kubernetes.io/admin-access"


def find(view: View, of: Pod) -> Resolution:
    """What has become of the pod's only entry."""
    [(_, resolution)] = resolve(view, of)
    return resolution


def blocked(view: View, of: Pod) -> tuple[Reason, str]:
    resolution = find(view, of)
    assert isinstance(resolution, Blocked)
    return resolution.reason, resolution.message


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_name_tells_pod_and_pod_claim() -> None:
    assert claim_name(pod("trainer"), "gpu", 0).startswith("trainer-gpu-")


def test_the_same_pod_claim_has_the_same_name_after_a_crash() -> None:
    assert claim_name(pod("trainer"), "gpu", 0) == claim_name(pod("trainer"), "gpu", 0)


def test_a_pod_replaced_under_its_name_has_other_names() -> None:
    assert claim_name(pod(uid="first"), "gpu", 0) != claim_name(pod(uid="second"), "gpu", 0)


def test_every_attempt_is_another_name() -> None:
    assert len({claim_name(pod(), "gpu", attempt) for attempt in range(16)}) == 16


def test_two_claims_whose_cut_names_are_equal_differ_in_the_suffix() -> None:
    first, second = (claim_name(pod("p" * 200), "c" * 62 + end, 0) for end in "ab")
    assert first[:-5] == second[:-5]
    assert first != second


def test_long_names_are_cut_in_proportion() -> None:
    base = claim_name(pod("p" * 90), "c" * 30, 0)[:-6]
    assert base == "p" * 42 + "-" + "c" * 14


@example(name="a", entry="c" * 63, attempt=0)
@given(name=POD_NAMES, entry=LABEL, attempt=st.integers(0, 15))
def test_every_name_is_valid_and_short(name: str, entry: str, attempt: int) -> None:
    made = claim_name(pod(name), entry, attempt)
    assert SUBDOMAIN.fullmatch(made)
    assert len(made) <= 63


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("a", "c" * 63),
        ("p" * 63, "c"),
        (".".join(["p" * 62] * 4), "c"),
        ("p" * 41 + "." + "q" * 50, "gpu"),
        ("a-" * 30 + "a", "c-" * 20 + "c"),
        ("a." * 126 + "a", "0"),
    ],
)
def test_a_cut_leaves_something_of_both_and_no_loose_end(name: str, entry: str) -> None:
    made = claim_name(pod(name), entry, 0)
    assert SUBDOMAIN.fullmatch(made)
    assert made[0] == name[0]
    assert f"-{entry[0]}" in made
    assert len(made) <= 63


# --- what is created -------------------------------------------------------------------------------------------------


def test_a_template_without_a_claim_has_one_to_create() -> None:
    user = pod(templates=["template"])
    found = find(view_of(user, template(request(count=2))), user)
    assert isinstance(found, ToCreate)
    assert found.claim.metadata.name == claim_name(user, "template", 0)
    assert found.claim.spec == template(request(count=2)).spec.spec


def test_a_generated_claim_says_whose_it_is_and_is_protected_from_the_start() -> None:
    user = pod(templates=["template"])
    made = build_claim(user, "template", template(), "made")
    assert made.metadata.owner_references == (owned_by(user),)
    assert made.metadata.annotation(POD_CLAIM_NAME_ANNOTATION) == "template"
    assert made.metadata.finalizers == (DELETE_PROTECTION_FINALIZER,)
    assert made.key == ("default", "made")
    assert generated_for(made, user, "template")


def test_the_deletion_of_the_pod_does_not_wait_for_its_claim() -> None:
    [owner] = build_claim(pod(), "gpu", template(), "made").metadata.owner_references or ()
    assert owner.block_owner_deletion is None


def test_labels_and_annotations_of_the_template_go_to_the_claim() -> None:
    decorated = msgspec.structs.replace(
        template(),
        spec=msgspec.structs.replace(
            template().spec, metadata=ObjectMeta(labels={"team": "a"}, annotations={"note": "b"})
        ),
    )
    made = build_claim(pod(), "gpu", decorated, "made")
    assert made.metadata.labels == {"team": "a"}
    assert made.metadata.annotations == {"note": "b", POD_CLAIM_NAME_ANNOTATION: "gpu"}


def test_a_name_that_someone_else_holds_leads_to_the_next_attempt() -> None:
    user = pod(templates=["template"])
    foreign = [claim(name=claim_name(user, "template", attempt)) for attempt in range(2)]
    found = find(view_of(user, template(), *foreign), user)
    assert isinstance(found, ToCreate)
    assert found.claim.metadata.name == claim_name(user, "template", 2)


def test_when_all_names_are_held_the_pod_is_told_which_to_delete() -> None:
    user = pod(templates=["template"])
    foreign = [claim(name=claim_name(user, "template", attempt)) for attempt in range(16)]
    reason, message = blocked(view_of(user, template(), *foreign), user)
    assert reason is Reason.CLAIM_NOT_OWNED
    assert claim_name(user, "template", 15) in message


# --- what is adopted -------------------------------------------------------------------------------------------------


def test_a_claim_with_owner_and_annotation_is_adopted_whatever_its_name() -> None:
    user = pod(templates=["template"])
    theirs = generated(user, name="made-by-kube-controller-manager")
    assert find(view_of(user, template(), theirs), user) == Found(theirs)


def test_a_claim_is_adopted_although_its_template_is_gone() -> None:
    user = pod(templates=["template"])
    assert find(view_of(user, generated(user)), user) == Found(generated(user))


@pytest.mark.parametrize(
    "other",
    [
        claim(name="ours"),
        generated(pod(uid="another"), name="ours"),
        generated(pod(templates=["template"]), entry="another", name="ours"),
    ],
    ids=["no owner", "the owner is another pod of that name", "for another entry"],
)
def test_a_claim_of_someone_else_is_not_adopted(other: object) -> None:
    user = pod(templates=["template"])
    assert isinstance(other, type(claim()))
    assert isinstance(find(view_of(user, template(), other), user), ToCreate)


def test_of_two_claims_the_published_one_stays_and_the_other_is_spare() -> None:
    user = publishes(pod(templates=["template"]), {"template": "b"})
    spare, published = generated(user, name="a"), generated(user, name="b")
    assert find(view_of(user, template(), spare, published), user) == Found(published, (spare,))


def test_before_one_is_published_the_one_in_use_stays() -> None:
    user = pod(templates=["template"])
    other, used = generated(user, name="a"), held(generated(user, name="b"), by=[user])
    assert find(view_of(user, template(), other, used), user) == Found(used)


def test_of_two_equal_claims_the_first_by_name_stays() -> None:
    user = pod(templates=["template"])
    first, second = generated(user, name="a"), generated(user, name="b")
    assert find(view_of(user, template(), second, first), user) == Found(first)


def test_nothing_is_spare_before_one_is_published_because_its_generator_may_be_about_to() -> None:
    user = publishes(pod(templates=["template"]), {"template": "gone"})
    resolution = find(view_of(user, template(), generated(user, name="a"), generated(user, name="b")), user)
    assert isinstance(resolution, Found)
    assert resolution.duplicates == ()


def test_what_a_gated_pod_alone_reserves_is_spare_when_another_is_published() -> None:
    user = publishes(gated(templates=["template"]), {"template": "b"})
    ours, published = held(generated(user, name="a"), by=[user]), generated(user, name="b")
    assert find(view_of(user, template(), ours, published), user) == Found(published, (ours,))


def test_what_a_pod_that_is_not_gated_reserves_is_never_spare() -> None:
    user = publishes(pod(templates=["template"]), {"template": "b"})
    one, two = (held(generated(user, name=name), f"node-a/gpu-{name}", by=[user]) for name in "ab")
    assert find(view_of(user, template(), one, two), user) == Found(two)


def test_a_status_that_says_that_no_claim_is_needed_is_believed() -> None:
    user = publishes(pod(templates=["template"]), {"template": None})
    assert find(view_of(user, template()), user) == NotNeeded()


def test_a_status_without_the_name_of_the_claim_that_there_is_says_nothing() -> None:
    """What two that publish leave behind: one gave the entry another name, and states it no more."""
    user = publishes(gated(templates=["template"]), {"template": None})
    view = view_of(user, template(), *gpus(), held(generated(user), by=[user]))
    assert find(view, user) == Found(held(generated(user), by=[user]))
    [action] = look(view, user).actions
    assert isinstance(action, PublishStatus)
    assert [status.resource_claim_name for status in action.claim_statuses] == [generated(user).metadata.name]


# --- what stands in the way ------------------------------------------------------------------------------------------


def test_a_missing_template_is_named() -> None:
    user = pod(templates=["template"])
    reason, message = blocked(view_of(user), user)
    assert reason is Reason.TEMPLATE_NOT_FOUND
    assert '"default/template" does not exist; create it' in message


def test_a_template_of_another_namespace_does_not_count() -> None:
    user = pod(templates=["template"])
    assert blocked(view_of(user, template(namespace="elsewhere")), user)[0] is Reason.TEMPLATE_NOT_FOUND


def test_a_missing_claim_is_named() -> None:
    user = pod(claims=["mine"])
    reason, message = blocked(view_of(user), user)
    assert reason is Reason.CLAIM_NOT_FOUND
    assert '"default/mine" does not exist; create it' in message


def test_who_names_a_template_as_a_claim_or_a_claim_as_a_template_is_told_the_field() -> None:
    as_claim, as_template = pod(claims=["template"]), pod(templates=["claim"])
    assert blocked(view_of(as_claim, template()), as_claim)[1].endswith("as resourceClaimTemplateName")
    assert blocked(view_of(as_template, claim()), as_template)[1].endswith("as resourceClaimName")


def test_a_claim_of_another_pod_may_not_be_named() -> None:
    user, owner = pod(claims=["theirs"]), pod("owner")
    reason, message = blocked(view_of(user, generated(owner, name="theirs")), user)
    assert reason is Reason.CLAIM_NOT_OWNED
    assert '"default/theirs"' in message
    assert 'pod "owner"' in message


def test_a_claim_that_something_else_controls_may_be_named() -> None:
    user = pod(claims=["mine"])
    mine = claim(name="mine", owner=msgspec.structs.replace(owned_by(pod("x")), kind="TrainJob", api_version="x/v1"))
    assert find(view_of(user, mine), user) == Found(mine)


def test_a_pods_own_generated_claim_may_be_named() -> None:
    user = pod(claims=["mine"])
    mine = generated(user, name="mine")
    assert find(view_of(user, mine), user) == Found(mine)


def test_a_claim_that_is_being_deleted_is_not_for_pods_that_come_now() -> None:
    user, runner = pod(claims=["mine"]), pod("runner", claims=["mine"], node_name="node-a")
    going = held(claim(name="mine", deleted=True), by=[runner])
    assert find(view_of(user, going), user) == Blocked(
        Reason.CLAIM_DELETING,
        'ResourceClaim "default/mine" is being deleted; it can be used once it has been created anew',
        going,
    )
    assert find(view_of(runner, going), runner) == Found(going)


def test_a_generated_claim_that_is_being_deleted_is_waited_for() -> None:
    user = pod(templates=["template"])
    reason, message = blocked(view_of(user, template(), generated(user, deleted=True)), user)
    assert reason is Reason.CLAIM_DELETING
    assert "generated anew" in message


def test_a_generated_claim_that_is_being_deleted_under_another_name_is_replaced_at_once() -> None:
    user = pod(templates=["template"])
    assert isinstance(find(view_of(user, template(), generated(user, name="x", deleted=True)), user), ToCreate)


@pytest.mark.parametrize("value", [None, "false", "True", ""])
def test_a_claim_with_admin_access_is_not_generated_without_the_label(value: str | None) -> None:
    user = pod(templates=["template"])
    here = namespace(**({} if value is None else {ADMIN: value}))
    reason, message = blocked(view_of(user, here, template(request(mode="All", admin=True))), user)
    assert reason is Reason.ADMIN_ACCESS_DENIED
    assert '"default/template"' in message
    assert f'{ADMIN}: "true"' in message


def test_a_claim_with_admin_access_is_generated_with_the_label() -> None:
    user = pod(templates=["template"])
    view = view_of(user, namespace(**{ADMIN: "true"}), template(request(mode="All", admin=True)))
    assert isinstance(find(view, user), ToCreate)


def test_entries_are_resolved_in_the_order_of_the_spec() -> None:
    user = pod(claims=["b", "a"], templates=["t"])
    view = view_of(user, claim(name="a"), template(name="t"))
    assert [(entry.name, type(found)) for entry, found in resolve(view, user)] == [
        ("b", Blocked),
        ("a", Found),
        ("t", ToCreate),
    ]
