"""The View: what the mirrors show, what our own writes know already, what is assumed, and who has to look again."""

from __future__ import annotations

import msgspec
import pytest

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.keys import ClaimRef, PodRef
from dra_operator.lifecycle.view import View
from tests.builders import allocation, claim, device_class, node, pod, slice_of, template
from tests.unit.lifecycle.scene import gated, generated, gpus, held, later, namespace, show, show_list, view_of

KEY = ObjectKey("default", "claim")
USER = pod("user", claims=["claim"])


def at(version: int, *, uid: str | None = None) -> ResourceClaim:
    return claim(version=version, uid=uid)


def pod_at(version: int, *, phase: str = "Pending", uid: str | None = None) -> Pod:
    return pod("user", claims=["claim"], version=version, phase=phase, uid=uid)


def version_of(view: View) -> str | None:
    found = view.claim(KEY)
    return None if found is None else found.metadata.resource_version


# --- our own writes to claims ----------------------------------------------------------------------------------------


def test_what_we_wrote_is_seen_before_the_mirror_has_it() -> None:
    view = view_of(at(1))
    view.note_written(held(at(2)))
    assert version_of(view) == "2"
    assert view.claim_catching_up(KEY)


def test_a_write_of_our_own_confirms_nothing() -> None:
    view = view_of(at(1))
    view.note_written(held(at(2)))
    assert not view.ledger.confirmed(at(2).uid)


def test_an_older_event_does_not_undo_our_own_write() -> None:
    view = view_of(at(1))
    view.note_written(at(5))
    show(view, at(3))
    assert version_of(view) == "5"
    assert view.claim_catching_up(KEY)


@pytest.mark.parametrize("version", [5, 7])
def test_the_mirror_takes_over_once_it_has_caught_up(version: int) -> None:
    view = view_of(at(1))
    view.note_written(at(5))
    show(view, at(version))
    assert version_of(view) == str(version)
    assert not view.claim_catching_up(KEY)


def test_a_late_answer_does_not_take_the_mirror_back() -> None:
    view = view_of(at(7))
    view.note_written(at(5))
    assert version_of(view) == "7"
    assert not view.claim_catching_up(KEY)


def test_versions_are_numbers_and_not_words() -> None:
    view = view_of(at(9))
    view.note_written(at(10))
    assert version_of(view) == "10"


def test_a_claim_that_we_created_is_there_at_once_and_is_its_owners() -> None:
    owner = pod("owner", templates=["template"])
    view = view_of(owner)
    refs = view.note_written(generated(owner))
    assert list(view.claims_owned_by(owner.uid)) == [generated(owner)]
    assert refs == {ClaimRef(generated(owner).key), PodRef(owner.uid)}


def test_a_claim_deleted_before_the_answer_to_our_write_leaves_no_ghost() -> None:
    view = view_of(at(1))
    view.forget_claim(KEY)
    view.note_written(at(2))
    assert view.claim(KEY) is None


def test_a_claim_created_anew_under_the_name_is_no_ghost() -> None:
    view = view_of(at(1, uid="old"))
    view.forget_claim(KEY)
    view.note_written(at(3, uid="new"))
    assert version_of(view) == "3"


def test_a_claim_whose_deletion_nobody_saw_is_replaced_by_the_new_one() -> None:
    view = view_of(held(at(1, uid="old")))
    show(view, at(3, uid="new"))
    assert version_of(view) == "3"
    assert not view.ledger.allocations()
    view.note_written(at(2, uid="old"))
    assert version_of(view) == "3"


def test_the_end_of_a_claim_that_had_the_name_before_is_not_that_of_ours() -> None:
    """Another created it, and it was deleted, before the mirror had shown either: ours is the next of that name."""
    view = view_of()
    ours = allocation("node-a/gpu-0")
    view.note_written(at(10, uid="ours"))
    view.assume_allocation(at(10, uid="ours"), ours)
    view.note_written(held(at(11, uid="ours")))
    for version in (5, 6):
        show(view, at(version, uid="before"))
        assert version_of(view) == "11"
    view.forget_claim(KEY)
    assert version_of(view) == "11"
    assert view.ledger.is_assumed(at(11, uid="ours").uid)
    show(view, at(10, uid="ours"), held(at(11, uid="ours")))
    assert not view.claim_catching_up(KEY)
    assert view.ledger.confirmed(at(11, uid="ours").uid)


def test_what_only_our_write_told_goes_when_the_api_server_does_not_know_it() -> None:
    view = view_of()
    view.note_written(at(2))
    view.note_claim_missing(KEY)
    assert view.claim(KEY) is None


# --- assumed ---------------------------------------------------------------------------------------------------------


def test_an_assumed_device_is_taken_until_the_mirror_shows_it() -> None:
    view = view_of(at(1))
    view.assume_allocation(at(1), allocation("node-a/gpu-0"))
    assert view.ledger.is_assumed(at(1).uid)
    show(view, held(at(2)))
    assert not view.ledger.is_assumed(at(1).uid)
    assert view.ledger.confirmed(at(1).uid)


def test_a_write_that_did_not_take_effect_frees_what_was_assumed() -> None:
    view = view_of(at(1))
    view.assume_allocation(at(1), allocation("node-a/gpu-0"))
    view.wakeups.waiting.add(USER.uid)
    assert PodRef(USER.uid) in view.forget_allocation(at(1).uid)
    assert not view.ledger.allocations()


def test_an_older_event_does_not_end_what_is_assumed() -> None:
    view = view_of(at(1))
    view.assume_allocation(at(1), allocation("node-a/gpu-0"))
    show(view, at(2))
    assert view.ledger.is_assumed(at(1).uid)


def test_an_allocation_that_someone_took_back_before_the_mirror_caught_up_is_not_assumed_for_ever() -> None:
    view = view_of(at(1))
    view.assume_allocation(at(1), allocation("node-a/gpu-0"))
    view.note_written(held(at(2)))
    show(view, at(3))
    assert not view.ledger.is_assumed(at(1).uid)


def test_so_it_is_when_the_answer_comes_after_the_mirror() -> None:
    view = view_of(at(1))
    view.assume_allocation(at(1), allocation("node-a/gpu-0"))
    show(view, at(3))
    view.note_written(held(at(2)))
    assert not view.ledger.is_assumed(at(1).uid)


def test_a_claim_that_is_gone_holds_nothing() -> None:
    view = view_of(held(at(1)))
    view.assume_allocation(at(1), allocation("node-a/gpu-1"))
    view.forget_claim(KEY)
    assert not view.ledger.allocations()


# --- lists -----------------------------------------------------------------------------------------------------------


def test_what_a_list_does_not_show_is_gone() -> None:
    view = view_of(held(claim(name="gone")), claim(name="stays"))
    show_list(view, claim(name="stays"), version="9")
    assert set(view.claims) == {("default", "stays")}
    assert not view.ledger.allocations()


def test_what_we_wrote_after_the_list_was_made_is_not_gone() -> None:
    view = view_of()
    view.note_written(at(12))
    show_list(view, version="9")
    assert version_of(view) == "12"


def test_what_we_wrote_before_the_list_was_made_is_gone_if_it_does_not_show_it() -> None:
    view = view_of()
    view.note_written(at(8))
    show_list(view, version="9")
    assert view.claim(KEY) is None


def test_what_a_list_from_a_cache_that_lagged_did_not_show_is_known_again_once_the_watch_shows_it() -> None:
    view = view_of(at(5))
    show_list(view, version="3")
    assert view.claim(KEY) is None
    show(view, at(5))
    view.note_written(at(7))
    assert version_of(view) == "7", "an answer to our own write counts again"


def written_by_us() -> View:
    """We created a claim and allocated it, and no mirror has shown it yet."""
    view = view_of()
    view.note_written(at(5, uid="ours"))
    allocated_by_us = held(at(8, uid="ours"))
    assert allocated_by_us.status.allocation is not None
    view.assume_allocation(at(5, uid="ours"), allocated_by_us.status.allocation)
    view.note_written(allocated_by_us)
    return view


def test_devices_of_a_claim_that_no_mirror_has_shown_are_free_when_the_api_server_has_none() -> None:
    view = written_by_us()
    view.note_claim_missing(KEY)
    assert not view.ledger.held


@pytest.mark.parametrize("how", ["list", "watch", "answer"])
def test_devices_of_a_claim_that_no_mirror_has_shown_are_those_of_the_next_of_its_name(how: str) -> None:
    """It may well be given the same: names of generated claims follow from their pod."""
    view, next_one = written_by_us(), held(at(15, uid="next"))
    if how == "list":
        show_list(view, next_one, version="20")
    elif how == "watch":
        show(view, next_one)
    else:
        view.note_written(next_one)
        show(view, next_one)
    assert view.ledger.confirmed(next_one.uid)
    view.forget_claim(KEY)
    assert not view.ledger.held


def test_what_is_answered_as_the_list_ends_and_was_gone_then_is_gone() -> None:
    view, other = view_of(), claim(name="other", version=3)
    pieces = view.replace_claims([other], "9")
    while other.key not in view.claims:
        next(pieces)
    view.note_written(at(5))
    next(pieces)
    late = claim(name="late", version=6)
    view.note_written(late)
    assert [*pieces] == []
    assert (view.claim(KEY), view.claim(late.key)) == (None, None)


@pytest.mark.parametrize("again", ["shown", "answered"])
def test_a_name_that_had_no_claim_is_not_missing_when_one_has_it_again(again: str) -> None:
    view = view_of()
    view.note_claim_missing(KEY)
    assert view.claim_is_missing(KEY)
    if again == "shown":
        show(view, at(5))
    else:
        view.note_written(at(5))
    assert not view.claim_is_missing(KEY)


def test_a_list_shows_claims_anew_that_were_deleted_and_created_unseen() -> None:
    view = view_of(held(at(1, uid="old")))
    show_list(view, at(5, uid="new"), version="9")
    assert version_of(view) == "5"
    assert not view.ledger.allocations()


def test_of_two_claims_on_one_device_in_a_list_none_is_confirmed() -> None:
    one, two = held(claim(name="one")), held(claim(name="two"))
    view = view_of()
    show_list(view, one, two, version="9")
    assert not view.ledger.confirmed(one.uid)
    assert not view.ledger.confirmed(two.uid)


def test_what_a_list_shows_as_it_was_is_not_looked_at_again_and_kept_once() -> None:
    view = view_of(USER, held(at(1)))
    again = held(at(1))
    assert show_list(view, again, version="9") == set()
    assert view.claims[KEY] is again, "who lists keeps it, too"


OTHER = held(claim(name="other", version=3))
LISTED = {
    "unchanged": (at(1), OTHER),
    "allocated": (held(at(6)), OTHER),
    "taken back": (at(6), OTHER),
    "replaced": (at(6, uid="new"), OTHER),
    "gone": (OTHER,),
}
ANSWERS = {
    "before what is listed": held(at(4)),
    "what is listed": held(at(6)),
    "after the list": held(at(12)),
    "of the one that replaced it": held(at(6, uid="new")),
    "of the next of that name": held(at(12, uid="next")),
    "that there is no such claim": None,
}


def everything(view: View) -> tuple[object, ...]:
    """What the View knows of claims, and what follows from it."""
    ledger, uids = view.ledger, sorted(view.ledger.allocations())
    judged = [(uid, ledger.confirmed(uid), ledger.rivals(uid), ledger.is_assumed(uid)) for uid in uids]
    keys = sorted({KEY, *view.claims})
    return dict(view.claims), [view.claim(key) for key in keys], judged, [*view.claims_owned_by(USER.uid)]


@pytest.mark.parametrize("listed", LISTED.values(), ids=LISTED)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_between_two_pieces_of_a_list_comes_to_the_same_as_one_before_or_after_it(
    listed: tuple[ResourceClaim, ...], answer: ResourceClaim | None
) -> None:
    def tell(view: View) -> None:
        if answer is None:
            view.note_claim_missing(KEY)
        else:
            view.note_written(answer)

    def taken_in(answer_at: int) -> tuple[int, tuple[object, ...]]:
        """The list, with the answer before the piece of that number. Returns how many there were, and the outcome."""
        view, number = view_of(USER, at(1)), 0
        written = answer or held(at(4))
        assert written.status.allocation is not None
        view.assume_allocation(written, written.status.allocation)
        if answer is None:
            view.note_written(written)
        for number, _ in enumerate(view.replace_claims(listed, "9"), 1):
            if number == answer_at:
                tell(view)
        if answer_at > number:
            tell(view)
        return number, everything(view)

    pieces, after = taken_in(1_000)
    before = taken_in(1)[1]
    for number in range(2, pieces + 1):
        assert taken_in(number)[1] in (before, after)


def test_the_pods_of_what_is_gone_are_looked_at_again() -> None:
    view = view_of(USER, claim())
    assert show_list(view, version="9") == {ClaimRef(KEY), PodRef(USER.uid)}


# --- pods ------------------------------------------------------------------------------------------------------------


def test_a_pods_own_write_is_seen_before_the_mirror_has_it_and_not_undone_by_an_older_event() -> None:
    view = view_of(pod_at(1))
    view.note_written(pod_at(5))
    show(view, pod_at(3))
    assert view.pod(USER.uid) == pod_at(5)
    show(view, pod_at(6))
    assert view.pod(USER.uid) == pod_at(6)


def test_an_older_event_does_not_take_a_pod_back() -> None:
    view = view_of(pod_at(5))
    show(view, pod_at(3))
    assert view.pod(USER.uid) == pod_at(5)


def test_a_pod_deleted_before_the_answer_to_our_write_leaves_no_ghost() -> None:
    view = view_of(pod_at(1))
    view.forget_pod(USER.uid, certain=True)
    assert view.note_written(pod_at(2)) == set()
    assert view.pod(USER.uid) is None
    assert view.pod_named(USER.key) is None


def test_a_pod_whose_deletion_was_watched_is_gone_and_one_that_a_census_missed_may_not_be() -> None:
    view = view_of(pod_at(1, uid="a"), pod("other", uid="b"))
    view.forget_pod(pod_at(1, uid="a").uid, certain=True)
    view.forget_pod(pod("other", uid="b").uid, certain=False)
    assert view.is_gone(pod_at(1, uid="a").uid)
    assert not view.is_gone(pod("other", uid="b").uid)


def test_a_pod_replaced_under_its_name_is_gone_for_certain() -> None:
    first, second = pod_at(1, uid="first"), pod_at(2, uid="second")
    view = view_of(held(claim(), by=[first]), first)
    refs = view.observe_pod(second)
    assert view.is_gone(first.uid)
    assert view.pod_named(first.key) == second
    assert {ClaimRef(KEY), PodRef(second.uid)} <= refs


def test_the_claims_of_a_pod_that_ended_are_looked_at() -> None:
    view = view_of(pod_at(1), held(claim(), by=[USER]))
    assert ClaimRef(KEY) in view.observe_pod(pod_at(2, phase="Succeeded"))


def test_the_claims_of_a_pod_that_only_changed_are_not() -> None:
    view = view_of(pod_at(1), held(claim(), by=[USER]))
    assert view.observe_pod(pod_at(2)) == {PodRef(USER.uid)}


@pytest.mark.parametrize(("shown", "looked_at"), [(3, False), (5, False), (6, True)])
def test_a_pod_that_the_mirror_shows_as_our_own_write_left_it_is_not_looked_at_again(
    shown: int, looked_at: bool
) -> None:
    view = view_of(pod_at(1))
    assert PodRef(USER.uid) in view.note_written(pod_at(5))
    assert (PodRef(USER.uid) in view.observe_pod(pod_at(shown))) is looked_at


@pytest.mark.parametrize(("shown", "looked_at"), [(3, False), (5, False), (6, True)])
def test_of_a_claim_that_the_mirror_shows_as_our_own_write_left_it_only_the_pods_are_looked_at(
    shown: int, looked_at: bool
) -> None:
    view = view_of(USER, at(1))
    assert ClaimRef(KEY) in view.note_written(at(5))
    refs = view.observe_claim(at(shown), live=True)
    assert PodRef(USER.uid) in refs  # they wait for the mirror to confirm it
    assert (ClaimRef(KEY) in refs) is looked_at


def test_a_claim_created_anew_under_the_name_of_what_we_wrote_is_looked_at() -> None:
    view = view_of(at(1))
    view.note_written(at(5))
    assert ClaimRef(KEY) in view.observe_claim(at(4, uid="another"), live=True)


def test_the_claims_of_a_pod_that_has_a_node_now_are_not_looked_at() -> None:
    view = view_of(pod_at(1), held(claim(), by=[USER]))
    bound = pod("user", claims=["claim"], version=2, node_name="node-1")
    assert view.observe_pod(bound) == {PodRef(USER.uid)}


def test_a_claim_is_looked_at_when_a_pod_that_named_it_goes() -> None:
    view = view_of(pod_at(1), claim())
    assert view.forget_pod(USER.uid, certain=True) == {ClaimRef(KEY)}
    assert list(view.pods_naming(KEY)) == []


def test_a_reservation_that_only_our_write_told_of_is_forgotten_with_it() -> None:
    user = pod("names-no-claim")
    view = view_of(user, at(1))
    view.note_written(held(at(2), by=[user]))
    view.note_written(held(later(at(2), 3), by=[USER]))
    show(view, at(4))
    assert view.forget_pod(user.uid, certain=True) == set()


def test_nothing_about_a_pod_that_is_gone_is_remembered() -> None:
    view = view_of(pod_at(1))
    view.wakeups.waiting.add(USER.uid)
    view.message_written[USER.uid] = 1.0
    view.assume_placement(USER.uid, "node-a")
    view.forget_pod(USER.uid, certain=True)
    assert (list(view.wakeups.waiting), view.message_written, view.refusals) == ([], {}, {})
    assert view.placed_on(USER.uid) is None


# --- who has to look again -------------------------------------------------------------------------------------------


def test_a_claim_concerns_the_pods_that_name_it_and_its_owner() -> None:
    owner, sharer = pod("owner", templates=["template"]), pod("sharer", claims=["made"])
    view = view_of(owner, sharer)
    made = generated(owner, name="made")
    assert view.observe_claim(made, live=True) == {ClaimRef(made.key), PodRef(owner.uid), PodRef(sharer.uid)}


def test_a_template_concerns_the_pods_that_name_it() -> None:
    user = pod("user", templates=["template"])
    view = view_of(user, USER)
    assert view.observe_template(template()) == {PodRef(user.uid)}
    assert view.observe_template(template(namespace="elsewhere")) == set()
    assert view.forget_template(template().key) == {PodRef(user.uid)}


def test_the_labels_of_a_namespace_concern_its_pods_with_claims() -> None:
    view = view_of(USER, pod("plain"), pod("far", "elsewhere", claims=["x"]), namespace())
    assert view.observe_namespace(namespace(team="a")) == {PodRef(USER.uid)}
    assert view.observe_namespace(namespace(team="a")) == set()


def test_a_dispute_ends_when_the_claim_that_came_first_lets_go() -> None:
    first, second = held(claim(name="first")), held(claim(name="second"))
    view = view_of(first, second)
    assert view.ledger.rivals(second.uid) == {first.uid}
    view.forget_claim(first.key)
    assert view.ledger.confirmed(second.uid)


def test_both_sides_of_a_dispute_of_one_list_are_looked_at() -> None:
    users = [pod(name, claims=[name]) for name in ("a", "b")]
    view = view_of(*users)
    refs = show_list(view, held(claim(name="a")), held(claim(name="b")), version="9")
    assert {PodRef(user.uid) for user in users} <= refs


# --- when a "does not fit" is worth another search -------------------------------------------------------------------


def moves(view: View) -> int:
    """The epoch; a pod waits, so that whoever is woken shows."""
    view.wakeups.waiting.add(USER.uid)
    return view.wakeups.epoch


def test_a_device_that_is_given_back_moves_the_epoch_and_wakes_those_who_wait() -> None:
    view = view_of(USER, held(claim(name="taken")))
    before = moves(view)
    assert PodRef(USER.uid) in view.observe_claim(later(claim(name="taken"), 2), live=True)
    assert view.wakeups.epoch > before


def test_a_claim_that_goes_with_its_device_moves_the_epoch() -> None:
    view = view_of(USER, held(claim(name="taken")))
    before = moves(view)
    assert PodRef(USER.uid) in view.forget_claim(ObjectKey("default", "taken"))
    assert view.wakeups.epoch > before


def test_a_device_that_is_taken_does_not_move_the_epoch() -> None:
    view = view_of(USER, claim(name="taken"))
    before = moves(view)
    show(view, later(held(claim(name="taken")), 2))
    view.assume_allocation(claim(name="more"), allocation("node-a/gpu-1"))
    assert view.wakeups.epoch == before


def test_a_claim_that_only_changes_users_does_not_move_the_epoch() -> None:
    view = view_of(USER, held(claim(name="taken")))
    before = moves(view)
    show(view, later(held(claim(name="taken"), by=[USER]), 2))
    assert view.wakeups.epoch == before


def test_a_pod_that_takes_room_does_not_move_the_epoch_and_one_that_ends_does() -> None:
    view = view_of(USER)
    before = moves(view)
    show(view, pod("heavy", node_name="node-a", phase="Running"))
    assert view.wakeups.epoch == before
    ended = view.observe_pod(pod("heavy", node_name="node-a", phase="Succeeded", version=2))
    assert view.wakeups.epoch > before
    assert PodRef(USER.uid) in ended


def test_more_of_anything_that_is_searched_moves_the_epoch_once() -> None:
    for new in gpus():
        view = view_of(USER)
        before = moves(view)
        show(view, new)
        assert view.wakeups.epoch == before + 1, type(new).__name__
        show(view, new)
        assert view.wakeups.epoch == before + 1, type(new).__name__


def test_a_nodes_heartbeat_does_not_move_the_epoch() -> None:
    view = view_of(USER, node())
    before = moves(view)
    beat = msgspec.structs.replace(node(), metadata=msgspec.structs.replace(node().metadata, resource_version="9"))
    assert view.observe_node(beat) == set()
    assert view.wakeups.epoch == before


def test_a_node_that_is_uncordoned_moves_the_epoch() -> None:
    view = view_of(USER, node(cordoned=True))
    before = moves(view)
    assert view.observe_node(node()) == {PodRef(USER.uid)}
    assert view.wakeups.epoch > before


def test_what_is_taken_away_changes_the_answer_too() -> None:
    view = view_of(USER, *gpus())
    before = moves(view)
    view.forget_slice(slice_of().metadata.name)
    after_slice = view.wakeups.epoch
    view.forget_class(device_class().metadata.name)
    after_class = view.wakeups.epoch
    view.forget_node("node-a")
    assert before < after_slice < after_class < view.wakeups.epoch


# --- room on nodes ---------------------------------------------------------------------------------------------------


def test_an_assumed_placement_takes_room_until_it_is_forgotten() -> None:
    user = gated("user", claims=["claim"])
    view = view_of(user)
    view.assume_placement(user.uid, "node-a")
    assert view.placed_on(user.uid) == "node-a"
    before = view.wakeups.epoch
    view.forget_placement(user.uid)
    assert view.placed_on(user.uid) is None
    assert view.wakeups.epoch > before


def test_what_the_pod_itself_says_about_its_node_is_not_forgotten() -> None:
    bound = pod("bound", node_name="node-a")
    view = view_of(bound)
    view.forget_placement(bound.uid)
    assert view.placed_on(bound.uid) == "node-a"


def test_a_pod_that_is_bound_elsewhere_moves_its_room() -> None:
    user = gated("user")
    view = view_of(user)
    view.assume_placement(user.uid, "node-a")
    show(view, pod("user", node_name="node-b", version=2))
    assert view.placed_on(user.uid) == "node-b"


# --- what a replaced pod's late events may not do ---------------------------------------------------------------------


@pytest.mark.parametrize("late", ["MODIFIED", "DELETED"])
def test_a_late_event_of_the_pod_that_had_the_name_before_changes_nothing(late: str) -> None:
    """Kopf has a worker for each UID: events of different pods of one name may overtake each other."""
    new = pod_at(13, uid="uid-new")
    view = view_of(pod_at(10, uid="uid-old"), new)
    if late == "MODIFIED":
        show(view, pod_at(11, uid="uid-old"))
    view.forget_pod(pod_at(12, uid="uid-old").uid, certain=True)
    assert view.pod_named(new.key) == new
    assert not view.is_gone(new.uid)
    assert view.is_gone(pod_at(11, uid="uid-old").uid)


def test_a_pod_that_is_resized_where_it_runs_makes_room() -> None:
    def running(cpu: str) -> Pod:
        return pod("running", requests={"cpu": cpu}, node_name="node-a", version=1 if cpu == "6" else 2)

    view = view_of(node(), running("6"))
    before = view.wakeups.epoch
    show(view, running("1"))
    assert view.usage["node-a"].requested("cpu", pod("other").uid) == 1_000_000_000
    assert view.wakeups.epoch > before


def test_devices_are_free_for_others_when_a_relist_shows_that_our_allocation_was_taken_back() -> None:
    view = view_of(*gpus(), at(1))
    allocated = held(at(2))
    assert allocated.status.allocation is not None
    view.assume_allocation(at(1), allocated.status.allocation)
    view.note_written(allocated)
    view.note_waits(gated("waits").uid, None)
    woken = show_list(view, at(3), version="3")
    assert PodRef(gated("waits").uid) in woken
    assert not view.ledger.is_assumed(at(1).uid)


def test_a_pod_that_lacks_what_it_names_is_not_woken_by_devices() -> None:
    view = view_of(*gpus())
    view.note_waits(gated("deaf").uid, None, no_device_helps=True)
    assert gated("deaf").uid in view.wakeups.waiting
    assert PodRef(gated("deaf").uid) not in view.freed()
