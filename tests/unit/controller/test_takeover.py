"""What a new leader knows before its first decision: claims as they are, and pods that may have been ungated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from dra_operator.api.core import Pod
from dra_operator.api.kinds import PODS, Kind
from dra_operator.api.meta import ObjectKey, ObjectMeta, Uid
from dra_operator.cluster.http import ApiError, NoAnswer
from dra_operator.controller.takeover import LATE_SECONDS, UNBOUND, Takeover
from dra_operator.lifecycle.actions import ReadPod
from dra_operator.lifecycle.keys import PodRef, Ref
from tests.unit.lifecycle.scene import gated, look, show, view_of
from tests.virtual_loop import run_virtual


def at(pod: Pod, version: int, *, on: str = "") -> Pod:
    """The pod at a later version, bound to a node or not."""
    meta = msgspec.structs.replace(pod.metadata, resource_version=str(version))
    spec = msgspec.structs.replace(pod.spec, node_name=on, scheduling_gates=None)
    return msgspec.structs.replace(pod, metadata=meta, spec=spec)


class Cluster:
    """The pods that there are; how claims are caught up with; what fails."""

    def __init__(self, *pods: Pod) -> None:
        self.pods = {pod.key: pod for pod in pods}
        self.read: list[str] = []
        self.failures: list[Exception] = []
        self.unreadable: dict[str, Exception] = {}
        self.claims_after = 0.3
        self.reading = 0.01
        self.version = 99

    async def list_metadata(self, kind: Kind[Any], /, *, field_selector: str) -> tuple[list[ObjectMeta], str]:
        assert (kind, field_selector) == (PODS, UNBOUND)
        await asyncio.sleep(0.01)
        if self.failures:
            raise self.failures.pop()
        return [pod.metadata for pod in self.pods.values() if not pod.spec.node_name], str(self.version)

    async def get(self, kind: Kind[Any], key: ObjectKey, /) -> Any:
        await asyncio.sleep(self.reading)
        self.read.append(key.name)
        if key.name in self.unreadable:
            raise self.unreadable[key.name]
        if key not in self.pods:
            raise ApiError(404, "NotFound", f'pods "{key.name}" not found', about=key.name)
        return self.pods[key]

    async def catch_up(self) -> None:
        await asyncio.sleep(self.claims_after)


class Leader:
    """A replica that follows, and what it was told."""

    def __init__(self, cluster: Cluster, *mirrored: Pod) -> None:
        self.view = view_of(*mirrored)
        self.marked: list[Ref] = []
        self.ready: list[float] = []
        self.takeover = Takeover(cluster, self.view, cluster, mark=self._mark, ready=self.ready.append)

    def _mark(self, refs: Iterable[Ref]) -> None:
        self.marked += refs

    async def takes_over(self) -> None:
        self.takeover.begin()
        assert self.takeover.task is not None
        await self.takeover.task


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    run_virtual(main())


ONE = gated("one", templates=["gpu"])
OTHER = gated("other", templates=["gpu"])


def test_nothing_is_complete_before_the_claims_are_caught_up_with() -> None:
    async def scenario() -> None:
        leader = Leader(Cluster())
        leader.takeover.begin()
        await asyncio.sleep(0.2)
        assert (leader.takeover.complete, leader.ready) == (False, [])
        await asyncio.sleep(0.2)
        assert leader.takeover.complete
        assert [round(seconds, 2) for seconds in leader.ready] == [0.31]

    play(scenario)


def test_pods_that_are_as_the_mirror_shows_them_are_not_read() -> None:
    async def scenario() -> None:
        cluster = Cluster(ONE, OTHER)
        leader = Leader(cluster, ONE, OTHER)
        await leader.takes_over()
        assert cluster.read == []

    play(scenario)


def test_a_pod_that_was_ungated_meanwhile_is_known_to_be() -> None:
    async def scenario() -> None:
        cluster = Cluster(at(ONE, 50), OTHER)
        leader = Leader(cluster, ONE, OTHER)
        await leader.takes_over()
        assert cluster.read == ["one"]
        assert leader.view.pod(ONE.uid) == at(ONE, 50)
        assert leader.marked == [PodRef(ONE.uid)]

    play(scenario)


def test_a_pod_that_was_bound_meanwhile_is_known_to_be() -> None:
    """It is not listed any more."""

    async def scenario() -> None:
        leader = Leader(Cluster(at(ONE, 50, on="node-a")), ONE)
        await leader.takes_over()
        known = leader.view.pod(ONE.uid)
        assert known is not None
        assert known.spec.node_name == "node-a"

    play(scenario)


def test_a_pod_that_is_gone_stays_until_the_mirror_says_so() -> None:
    async def scenario() -> None:
        leader = Leader(Cluster(), ONE)
        await leader.takes_over()
        assert leader.view.pod(ONE.uid) == ONE
        assert leader.marked == []
        assert look(leader.view, ONE).actions == (), "nothing is decided on it meanwhile"

    play(scenario)


def test_a_pod_that_was_replaced_is_known_to_be() -> None:
    async def scenario() -> None:
        replaced = msgspec.structs.replace(ONE, metadata=msgspec.structs.replace(ONE.metadata, uid=Uid("another")))
        leader = Leader(Cluster(replaced), ONE)
        await leader.takes_over()
        assert leader.view.pod_named(ONE.key) == replaced
        assert leader.view.is_gone(ONE.uid)

    play(scenario)


def test_pods_that_run_or_have_no_claims_are_not_asked_for() -> None:
    async def scenario() -> None:
        bound, plain = at(ONE, 7, on="node-a"), gated("plain")
        cluster = Cluster(bound, at(plain, 50))
        await Leader(cluster, bound, plain).takes_over()
        assert cluster.read == []

    play(scenario)


def test_a_pod_that_the_mirror_has_not_shown_yet_is_known_as_it_is() -> None:
    """What it shows later is older: the gate, with which devices might be taken back."""

    async def scenario() -> None:
        leader = Leader(Cluster(at(ONE, 50)))
        await leader.takes_over()
        assert leader.marked == [PodRef(ONE.uid)]
        show(leader.view, ONE)
        assert leader.view.pod(ONE.uid) == at(ONE, 50)
        assert look(leader.view, ONE).actions == ()

    play(scenario)


def test_a_pod_that_was_bound_and_is_shown_late_is_read_before_anything_is_decided_on_it() -> None:
    """It is not listed, and devices might be taken back from it."""
    bound = at(ONE, 50, on="node-a")

    async def scenario() -> None:
        leader = Leader(Cluster(bound))
        await leader.takes_over()
        show(leader.view, ONE)
        assert look(leader.view, ONE).actions == (ReadPod(ONE.key, ONE.uid, 99),)
        leader.view.note_read(ONE.uid, bound, 99)
        assert look(leader.view, ONE).actions != (ReadPod(ONE.key, ONE.uid, 99),)
        assert leader.view.pod(ONE.uid) == bound

    play(scenario)


def test_nothing_is_decided_on_a_pod_that_is_shown_late_and_gone() -> None:
    async def scenario() -> None:
        leader = Leader(Cluster())
        await leader.takes_over()
        show(leader.view, ONE)
        assert look(leader.view, ONE).actions == (ReadPod(ONE.key, ONE.uid, 99),)
        leader.view.note_read(ONE.uid, None, 99)
        assert look(leader.view, ONE).actions == ()

    play(scenario)


def test_what_was_read_before_the_lease_was_lost_says_nothing_afterwards() -> None:
    async def scenario() -> None:
        cluster = Cluster()
        leader = Leader(cluster)
        await leader.takes_over()
        cluster.version = 200
        await leader.takes_over()
        show(leader.view, ONE)
        leader.view.note_read(ONE.uid, ONE, 99)
        assert look(leader.view, ONE).actions == (ReadPod(ONE.key, ONE.uid, 200),)

    play(scenario)


def test_a_pod_that_is_created_later_is_decided_on_at_once() -> None:
    async def scenario() -> None:
        leader = Leader(Cluster())
        await leader.takes_over()
        later = msgspec.structs.replace(ONE.metadata, resource_version="100")
        show(leader.view, msgspec.structs.replace(ONE, metadata=later))
        assert not any(isinstance(action, ReadPod) for action in look(leader.view, ONE).actions)

    play(scenario)


@pytest.mark.parametrize(
    "failure",
    [
        NoAnswer("the answer is no Pod: Invalid quantity"),
        NoAnswer("connection refused"),
        ApiError(403, "Forbidden", "no"),
        ApiError(500, "InternalError", "etcd"),
        ApiError(404, "", "404 page not found", by_api=False),
    ],
    ids=str,
)
def test_a_pod_that_cannot_be_read_does_not_keep_the_others_waiting(failure: Exception) -> None:
    """Nothing is decided on it until it can be, or an event shows it."""

    async def scenario() -> None:
        cluster = Cluster(at(ONE, 50), at(OTHER, 51))
        cluster.unreadable["one"] = failure
        leader = Leader(cluster, ONE, OTHER)
        await leader.takes_over()
        assert cluster.read == ["one", "other"]
        assert leader.view.pod(OTHER.uid) == at(OTHER, 51)
        assert look(leader.view, ONE).actions == (ReadPod(ONE.key, ONE.uid, 99),)
        show(leader.view, at(ONE, 100))
        assert ReadPod(ONE.key, ONE.uid, 99) not in look(leader.view, ONE).actions

    play(scenario)


def test_pods_that_are_not_read_in_time_are_left_to_the_looks_at_them() -> None:
    async def scenario() -> None:
        cluster = Cluster(at(ONE, 50))
        cluster.reading = 1e6
        leader = Leader(cluster, ONE)
        await leader.takes_over()
        assert look(leader.view, ONE).actions == (ReadPod(ONE.key, ONE.uid, 99),)

    play(scenario)


def test_a_lease_lost_while_reads_are_on_their_way_ends_them() -> None:
    async def scenario() -> None:
        cluster = Cluster(at(ONE, 50))
        cluster.reading = 1.0
        leader = Leader(cluster, ONE)
        leader.takeover.begin()
        await asyncio.sleep(0.5)
        leader.takeover.end()
        await asyncio.sleep(5.0)
        assert (cluster.read, leader.ready, leader.marked) == ([], [], [])
        assert leader.view.pod(ONE.uid) == ONE

    play(scenario)


def test_a_takeover_that_takes_long_says_so_and_why() -> None:
    async def scenario() -> None:
        cluster = Cluster()
        cluster.failures = [NoAnswer("connection refused")] * 20
        leader = Leader(cluster)
        leader.takeover.begin()
        assert leader.takeover.remarks() == []
        await asyncio.sleep(LATE_SECONDS + 1)
        (remark,) = leader.takeover.remarks()
        assert remark.startswith("leading for 11 s, but not deciding")
        assert remark.endswith(": pods are listed and read (connection refused)")
        assert leader.takeover.task is not None
        await leader.takeover.task
        assert leader.takeover.remarks() == []

    play(scenario)


def test_what_fails_is_tried_again() -> None:
    async def scenario() -> None:
        cluster = Cluster()
        cluster.failures = [NoAnswer("connection refused"), ApiError(503, "ServiceUnavailable", "later")]
        leader = Leader(cluster)
        await leader.takes_over()
        assert leader.takeover.complete

    play(scenario)


def test_a_lease_lost_meanwhile_ends_it_and_the_next_one_begins_anew() -> None:
    async def scenario() -> None:
        leader = Leader(Cluster())
        leader.takeover.begin()
        await asyncio.sleep(0.2)
        leader.takeover.end()
        await asyncio.sleep(1.0)
        assert leader.ready == []
        await leader.takes_over()
        leader.takeover.end()
        assert not leader.takeover.complete, "what is known now is old when the lease comes back"

    play(scenario)


def test_a_takeover_that_fails_in_a_way_that_nobody_expects_is_logged() -> None:
    async def scenario() -> None:
        cluster = Cluster()
        cluster.failures = [ValueError("a defect")]
        leader = Leader(cluster)
        with capture_logs() as lines:
            leader.takeover.begin()
            await asyncio.sleep(1.0)
        assert not leader.takeover.complete
        assert [repr(line["exc_info"]) for line in lines] == ["ValueError('a defect')"]

    play(scenario)


def test_a_stop_lets_go_out_what_was_decided_and_begins_nothing_more() -> None:
    async def scenario() -> None:
        leader = Leader(Cluster())
        await leader.takes_over()
        leader.takeover.stop()
        assert leader.takeover.complete
        leader.takeover.begin()
        await asyncio.sleep(1.0)
        assert not leader.takeover.complete

    play(scenario)
