"""Who is woken when something becomes free: groups that it may serve, one pod of each, by priority, then age."""

from __future__ import annotations

import msgspec

from dra_operator.api.core import Pod
from dra_operator.api.meta import Uid
from dra_operator.lifecycle.waiting import Group, Waiting
from tests.builders import pod


def waits(name: str, *, created: int = 0, priority: int = 0) -> Pod:
    made = pod(name, uid=name)
    return msgspec.structs.replace(
        made,
        metadata=msgspec.structs.replace(made.metadata, creation_timestamp=f"2026-01-01T00:00:{created:02}Z"),
        spec=msgspec.structs.replace(made.spec, priority=priority),
    )


def group(key: str, *nodes: str) -> Group:
    """Those who ask for `key`, which the nodes have."""
    return Group(key.encode(), lambda name: name in nodes)


def waiting(of: Group, *pods: Pod) -> Waiting:
    made = Waiting()
    for each in pods:
        made.add(each.uid, each, of)
    return made


def test_only_a_group_that_the_node_may_serve_is_woken() -> None:
    of_a = waiting(group("gpu", "a"), waits("one"))
    assert of_a.wake(["a"]) == {"one"}
    assert of_a.wake(["b"]) == set()
    assert of_a.wake(None) == {"one"}


def test_of_a_group_only_the_first_is_woken() -> None:
    of_a = waiting(group("gpu", "a"), waits("young", created=2), waits("old", created=1))
    assert of_a.wake(["a"]) == {"old"}


def test_priority_goes_before_age() -> None:
    of_a = waiting(group("gpu", "a"), waits("old", created=1), waits("important", created=2, priority=5))
    assert of_a.wake(["a"]) == {"important"}


def test_who_is_served_wakes_the_next_until_one_is_refused() -> None:
    gpu = group("gpu", "a")
    first, second, third = (waits(name, created=number) for number, name in enumerate(("1", "2", "3")))
    of_a = waiting(gpu, first, second, third)
    of_a.wake(["a"])
    assert of_a.discard(first.uid) == {"2"}
    of_a.add(second.uid, second, gpu)
    assert of_a.discard(second.uid) == set()


def test_a_refusal_of_one_that_is_not_first_leaves_the_group_awake() -> None:
    gpu = group("gpu", "a")
    first, second = waits("1", created=1), waits("2", created=2)
    of_a = waiting(gpu, first, second)
    of_a.wake(["a"])
    of_a.add(second.uid, second, gpu)
    assert of_a.discard(first.uid) == {"2"}


def test_one_that_goes_while_nothing_happened_wakes_nobody() -> None:
    first, second = waits("1", created=1), waits("2", created=2)
    of_a = waiting(group("gpu", "a"), first, second)
    assert of_a.discard(first.uid) == set()
    assert of_a.wake(["a"]) == {"2"}


def test_one_that_asks_for_something_else_now_changes_its_group() -> None:
    one = waits("one")
    of_a = waiting(group("gpu", "a"), one)
    of_a.add(one.uid, one, group("other", "b"))
    assert (of_a.wake(["a"]), of_a.wake(["b"])) == (set(), {"one"})
    assert list(of_a) == ["one"]


def test_who_waits_for_something_else_is_woken_by_everything() -> None:
    of_a = waiting(group("gpu", "a"), waits("one"))
    of_a.add(Uid("claim is full"))
    assert of_a.wake(["b"]) == {"claim is full"}
    assert of_a.discard(Uid("claim is full")) == set()
    assert len(of_a) == 1
