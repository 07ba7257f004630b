"""What a pod is given, and the answers that hold for others; a decision that takes long comes to the same in steps."""

from __future__ import annotations

from dra_operator.allocation.outcome import Unschedulable
from dra_operator.allocation.place import Placement
from dra_operator.api.core import Pod
from dra_operator.api.meta import Object
from dra_operator.api.names import GATE
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.decide import Decider, Decision, Unfinished
from dra_operator.lifecycle.view import View
from tests.builders import claim, container, device_class, node, pod, request, slice_of
from tests.unit.lifecycle.scene import PROTECTED, full, gated, gpus, held, says, show, view_of

NODES = 40
USER = pod("user")
ASK = (claim(request(count=2)),)
"""Two GPUs of one node, and each node has one: all have to be looked at."""


def cluster(*more: Object) -> View:
    return view_of(*(each for number in range(NODES) for each in gpus(node=f"node-{number:02}")), *more)


def decide(decider: Decider, at: Pod = USER, claims: tuple[ResourceClaim, ...] = ASK) -> tuple[Decision, int]:
    """The decision, and how many searches it took."""
    for searches in range(9):
        decision = decider.place(at, claims)
        if not isinstance(decision, Unfinished):
            return decision, searches
        for _ in decision.search:
            pass
    raise AssertionError("the decision never ends")


def test_a_decision_in_steps_is_the_decision_in_one_go() -> None:
    view = cluster()
    whole, _ = decide(Decider(view))
    stepwise, searches = decide(Decider(view, steps_in_one_go=4))
    assert isinstance(whole, Unschedulable)
    assert (stepwise, searches) == (whole, 1)


def test_what_was_searched_is_not_searched_again() -> None:
    decider = Decider(cluster(), steps_in_one_go=4)
    decide(decider)
    again = decider.place(pod("another"), ASK)
    assert isinstance(again, Unschedulable)


def test_devices_that_come_free_during_the_search_are_found() -> None:
    taken = held(claim(request(count=2), name="taken"), "big/gpu-0", "big/gpu-1", by=[pod("holder")], on="big")
    view = cluster(*gpus(2, node="big"), taken)
    decider = Decider(view, steps_in_one_go=4)
    decision = decider.place(USER, ASK)
    assert isinstance(decision, Unfinished)
    for number, _ in enumerate(decision.search):
        if number == NODES // 2:
            view.forget_claim(taken.key)
    found, _ = decide(decider)
    assert isinstance(found, Placement)
    assert found.node == "big"


def test_a_node_that_goes_during_the_search_does_no_harm() -> None:
    view = cluster()
    decider = Decider(view, steps_in_one_go=4)
    decision = decider.place(USER, ASK)
    assert isinstance(decision, Unfinished)
    for number, _ in enumerate(decision.search):
        if number == 3:
            for gone in range(1, NODES):
                view.forget_node(f"node-{gone:02}")
    left, _ = decide(decider)
    assert isinstance(left, Unschedulable)
    assert "none of 1 node fits" in left.message


def test_a_cluster_that_changes_faster_than_a_search_ends_gets_an_answer_all_the_same() -> None:
    view = cluster()
    decider = Decider(view, steps_in_one_go=4)
    for searches in range(9):
        decision = decider.place(USER, ASK)
        if not isinstance(decision, Unfinished):
            break
        for number, _ in enumerate(decision.search):
            show(view, node(f"new-{searches}-{number}"), *gpus(node=f"new-{searches}-{number}")[1:])
            if number > 2 * NODES:
                break
    assert isinstance(decision, Unschedulable)


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


def cordoned() -> tuple[View, ResourceClaim]:
    """The only GPU is free, on a cordoned node; and a claim that takes it."""
    one = node(cordoned=True), *gpus()[1:]
    return view_of(*one), held(claim(name="taker"), by=[pod("runner", claims=["taker"], node_name="node-a")])


def test_what_a_pod_says_since_devices_were_taken_does_not_give_way_to_what_was_found_before() -> None:
    view, taker = cordoned()
    early, late = Decider(view), Decider(view)
    before = early.place(USER, [claim()])
    show(view, taker)
    now = late.place(USER, [claim()])
    assert isinstance(before, Unschedulable)
    assert isinstance(now, Unschedulable)
    assert (before.reason, now.reason) == ("NodeUnsuitable", "DevicesInUse")
    assert early.place(says(USER, now.reason, now.message), [claim()]) == now
    assert late.place(says(USER, before.reason, before.message), [claim()]) is now


def test_what_a_pod_says_since_room_was_taken_does_not_give_way_either() -> None:
    small = node(allocatable={"cpu": "2", "pods": "1"})
    user = pod("user", containers=[container({"cpu": "4"})])
    view = view_of(small, *gpus()[1:])
    early = Decider(view)
    before = early.place(user, [claim()])
    show(view, pod("another", node_name="node-a"))
    now = Decider(view).place(user, [claim()])
    assert isinstance(now, Unschedulable)
    assert before != now
    assert early.place(says(user, now.reason, now.message), [claim()]) == now


def test_pods_that_say_so_or_nothing_yet_cost_no_search_when_devices_are_taken() -> None:
    view, taker = cordoned()
    decider = Decider(view)
    first = decider.place(USER, [claim()])
    show(view, taker)
    assert isinstance(first, Unschedulable)
    assert decider.place(says(USER, first.reason, first.message), [claim()]) is first
    assert decider.place(pod("another"), [claim()]) is first


def test_what_a_long_search_has_just_found_is_told_though_devices_were_taken_meanwhile() -> None:
    nodes = [f"node-{number:02}" for number in range(NODES)]
    view = cluster(*(node(name, cordoned=True) for name in nodes))
    user = says(USER, "ClaimMissing")
    decider = Decider(view, steps_in_one_go=4)
    decision = decider.place(user, [claim()])
    assert isinstance(decision, Unfinished)
    for _ in decision.search:
        pass
    show(view, held(claim(name="taker"), "node-31/gpu-0", by=[pod("runner", claims=["taker"])], on="node-31"))
    assert isinstance(decider.place(user, [claim()]), Unschedulable)


def test_searches_that_end_do_not_make_a_later_one_go_on_without_a_break() -> None:
    view = cluster()
    decider = Decider(view, steps_in_one_go=4)
    assert [decide(decider, claims=(claim(request(count=count)),))[1] for count in range(2, 8)] == [1] * 6


# --- what is asked for -----------------------------------------------------------------------------------------------


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
