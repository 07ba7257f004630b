"""The observer of `make chaos` sees what must not be, and only that."""

from __future__ import annotations

from typing import Any

import pytest

from dra_operator.api.codec import encode
from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey, OwnerReference, Uid
from dra_operator.api.names import GATE
from dra_operator.api.resource import ResourceClaim, ResourceSlice
from tests.builders import allocated, claim, device, pod, result, slice_of
from tests.chaos.history import Revision
from tests.chaos.observer import Kind, Observer

_KINDS = {Pod: "pods", ResourceClaim: "resourceclaims", ResourceSlice: "resourceslices"}
GPU = "node-a/gpu-0"


class History:
    """Objects as they are written, one revision after the other."""

    def __init__(self) -> None:
        self.observer = Observer()

    def write(self, *objects: Pod | ResourceClaim | ResourceSlice) -> None:
        for one in objects:
            self._see(_KINDS[type(one)], one.key, encode(one))

    def delete(self, one: Pod | ResourceClaim | ResourceSlice) -> None:
        self._see(_KINDS[type(one)], one.key, None)

    def _see(self, kind: str, key: ObjectKey, value: bytes | None) -> None:
        self.observer.see(Revision(self.observer.revision + 1, kind, key, value))

    @property
    def found(self) -> list[str]:
        return [f"{one.kind}: {one.what}" for one in self.observer.violations]


@pytest.fixture
def history() -> History:
    return History()


def gated(name: str, **more: Any) -> Pod:
    return pod(name, claims=[f"of-{name}"], gates=[GATE], **more)


def let_go(name: str, **more: Any) -> Pod:
    return pod(name, claims=[f"of-{name}"], **{"node_name": "node-a", **more})


def given(name: str, *devices: str, to: Pod | None = None, **more: Any) -> ResourceClaim:
    """The claim of pod `name`, with devices, reserved for it."""
    return allocated(claim(name=f"of-{name}", **more), *(devices or (GPU,)), reserved_for=[to or gated(name)])


def test_the_usual_life_of_a_pod_violates_nothing(history: History) -> None:
    owner = OwnerReference(api_version="v1", kind="Pod", name="a", uid=gated("a").uid, controller=True)
    history.write(claim(name="of-a", owner=owner), gated("a"), given("a", owner=owner), let_go("a"))
    history.write(let_go("a", phase="Running"), let_go("a", phase="Succeeded"), claim(name="of-a", owner=owner))
    history.delete(let_go("a"))
    history.delete(claim(name="of-a", owner=owner))
    assert not history.found
    assert not history.observer.leftovers()


def test_a_device_given_to_two_pods_that_are_let_go(history: History) -> None:
    history.write(claim(name="of-a"), claim(name="of-b"), gated("a"), gated("b"))
    history.write(given("a"), let_go("a"), given("b"))
    assert not history.found, "pod b is still gated: its claim can be taken back"
    assert history.observer.counts["devices in two claims, undone in time"] == 1
    history.write(let_go("b"))
    what = f"device gpu.example.com/{GPU} is given twice: to default/of-b and default/of-a"
    assert history.found == [f"{Kind.DOUBLE}: {what}"]


def test_a_device_given_to_a_claim_that_a_pod_runs_with(history: History) -> None:
    history.write(claim(name="of-a"), claim(name="of-b"), gated("a"), gated("b"))
    history.write(given("a"), let_go("a"), given("b", "node-a/gpu-1"), let_go("b"))
    history.write(given("b", GPU, to=let_go("b")))
    assert [line.split(":")[0] for line in history.found] == [Kind.LOST, Kind.DOUBLE]


def test_a_monitor_beside_a_user_is_no_double(history: History) -> None:
    history.write(claim(name="of-a"), claim(name="of-b"), gated("a"), gated("b"))
    monitor = allocated(claim(name="of-b"), result(GPU, admin=True), reserved_for=[gated("b")])
    history.write(given("a"), let_go("a"), monitor, let_go("b"))
    assert not history.found


def test_partitions_that_draw_more_than_there_is(history: History) -> None:
    parts = [device(f"part-{i}", consumes={"gpu": {"memory": "6Gi"}}) for i in range(2)]
    history.write(slice_of(counters={"gpu": {"memory": "10Gi"}}, name="counters"), slice_of(parts, name="devices"))
    history.write(claim(name="of-a"), claim(name="of-b"), gated("a"), gated("b"))
    history.write(given("a", "node-a/part-0"), let_go("a"), given("b", "node-a/part-1"))
    assert not history.found
    history.write(let_go("b"))
    assert history.found == [f"{Kind.DOUBLE}: pool node-a: 12Gi of 10Gi gpu/memory are drawn"]


@pytest.mark.parametrize(
    ("ends_as", "what"),
    [
        (claim(name="of-a"), "claim default/of-a has other devices than pod default/a runs with"),
        (given("a", "node-a/gpu-1"), "claim default/of-a has other devices than pod default/a runs with"),
    ],
)
def test_a_running_pod_loses_its_devices(history: History, ends_as: ResourceClaim, what: str) -> None:
    history.write(claim(name="of-a"), gated("a"), given("a"), let_go("a"), ends_as)
    assert history.found == [f"{Kind.LOST}: {what}"]


def test_a_reservation_that_kube_scheduler_takes_from_a_bound_pod_has_to_come_back(history: History) -> None:
    """It does where the answer to its binding was lost, and the next try is told "already assigned"."""
    running = let_go("a", phase="Running")
    history.write(claim(name="of-a"), gated("a"), given("a"), running, given("a", to=gated("other")))
    assert not history.found
    assert history.observer.counts["reservations taken back after binding"] == 1
    missing = f"{Kind.LOST}: claim default/of-a is not reserved for pod default/a, which runs"
    assert missing in [f"{one.kind}: {one.what}" for one in history.observer.leftovers()]
    history.write(given("a"))
    assert not history.observer.leftovers()


@pytest.mark.parametrize("ends_as", [claim(name="of-a"), given("a", "node-a/gpu-1", to=gated("other"))])
def test_without_its_reservation_a_bound_pod_keeps_its_devices(history: History, ends_as: ResourceClaim) -> None:
    history.write(claim(name="of-a"), gated("a"), given("a"), let_go("a"), given("a", to=gated("other")), ends_as)
    assert history.found == [f"{Kind.LOST}: claim default/of-a has other devices than pod default/a runs with"]


def test_a_pod_that_is_over_needs_no_reservation_back(history: History) -> None:
    history.write(claim(name="of-a"), gated("a"), given("a"), let_go("a"), given("a", to=gated("other")))
    history.write(let_go("a", phase="Succeeded"), claim(name="of-a"))
    assert not history.found


def test_a_pod_is_bound_without_what_it_was_let_go_with(history: History) -> None:
    """kube-scheduler gives its reservation up when it cannot bind; it may not bind without one."""
    history.write(claim(name="of-a"), gated("a"), given("a"), let_go("a", node_name=""))
    history.write(given("a", to=gated("other")))
    assert not history.found
    assert history.observer.counts["reservations taken back before binding"] == 1
    history.write(let_go("a"))
    assert history.found == [f"{Kind.LOST}: pod default/a was bound, and claim default/of-a is not reserved for it"]


def test_a_claim_that_is_deleted_stays_while_a_pod_runs_with_it(history: History) -> None:
    history.write(claim(name="of-a"), gated("a"), given("a"), let_go("a"), given("a", deleted=True))
    history.write(let_go("a", phase="Running"))
    assert not history.observer.leftovers()
    history.write(let_go("a", phase="Succeeded"))
    what = f"{Kind.LEAK}: claim default/of-a is deleted and still there"
    assert what in [f"{one.kind}: {one.what}" for one in history.observer.leftovers()]


def test_a_claim_is_deleted_under_a_running_pod(history: History) -> None:
    history.write(claim(name="of-a"), gated("a"), given("a"), let_go("a"))
    history.delete(given("a"))
    assert f"{Kind.LOST}: claim default/of-a is gone, and pod default/a runs with it" in history.found


def test_a_users_claim_is_deleted_by_somebody_else(history: History) -> None:
    history.write(claim(name="mine"), claim(name="yours"))
    history.observer.deletable.add(claim(name="mine").key)
    history.delete(claim(name="mine"))
    history.delete(claim(name="yours"))
    assert history.found == [f"{Kind.LOST}: claim default/yours is a user's own and was deleted"]


def test_a_pod_is_let_go_without_its_devices(history: History) -> None:
    history.write(claim(name="of-a"), gated("a"), let_go("a"))
    history.write(claim(name="of-b"), gated("b"), given("b", to=gated("other")), let_go("b"))
    assert history.found == [
        f"{Kind.LOST}: pod default/a was let go without devices for 'of-a'",
        f"{Kind.LOST}: pod default/b was let go, and claim default/of-b is not reserved for it",
    ]


def test_a_pod_is_created_without_its_gate(history: History) -> None:
    history.write(let_go("a"))
    assert history.found == [f"{Kind.LOST}: pod default/a was created without its gate"]


def test_what_is_left_over_at_the_end(history: History) -> None:
    owner = OwnerReference(api_version="v1", kind="Pod", name="gone", uid=Uid("gone"), controller=True)
    history.write(gated("waits"), claim(name="orphan", owner=owner))
    history.write(allocated(claim(name="held"), GPU), given("reserved", to=gated("gone")))
    history.write(claim(name="going", deleted=True))
    assert sorted(f"{one.kind}: {one.what}" for one in history.observer.leftovers()) == [
        f"{Kind.LEAK}: claim default/going is deleted and still there",
        f"{Kind.LEAK}: claim default/held holds devices for nobody",
        f"{Kind.LEAK}: claim default/of-reserved is reserved for pod gone, which is over",
        f"{Kind.LEAK}: claim default/orphan was generated for pod gone, which does not need it",
        f"{Kind.LOST}: pod default/waits waits",
    ]
