"""What a new leader knows before its first decision: claims as they are, and pods that may have been ungated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from dra_operator.api.core import Pod
from dra_operator.api.kinds import PODS, Kind
from dra_operator.api.meta import ObjectKey, ObjectMeta
from dra_operator.cluster.http import ApiError, NoAnswer
from dra_operator.controller.takeover import UNBOUND, Takeover
from dra_operator.lifecycle.keys import PodRef, Ref
from tests.unit.lifecycle.scene import gated, view_of
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
        self.claims_after = 0.3

    async def list_metadata(self, kind: Kind[Any], /, *, field_selector: str) -> tuple[list[ObjectMeta], str]:
        assert (kind, field_selector) == (PODS, UNBOUND)
        await asyncio.sleep(0.01)
        if self.failures:
            raise self.failures.pop()
        return [pod.metadata for pod in self.pods.values() if not pod.spec.node_name], "99"

    async def get(self, kind: Kind[Any], key: ObjectKey, /) -> Any:
        await asyncio.sleep(0.01)
        self.read.append(key.name)
        if key not in self.pods:
            raise ApiError(404, "NotFound", f'pods "{key.name}" not found')
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


def test_a_pod_that_is_gone_or_replaced_stays_until_the_mirror_says_so() -> None:
    async def scenario() -> None:
        replaced = msgspec.structs.replace(OTHER, metadata=msgspec.structs.replace(OTHER.metadata, uid="another"))
        leader = Leader(Cluster(replaced), ONE, OTHER)
        await leader.takes_over()
        assert leader.view.pod(ONE.uid) == ONE
        assert leader.view.pod(OTHER.uid) == OTHER
        assert leader.marked == []

    play(scenario)


def test_pods_that_run_or_have_no_claims_are_not_asked_for() -> None:
    async def scenario() -> None:
        bound, plain = at(ONE, 7, on="node-a"), gated("plain")
        cluster = Cluster(bound, at(plain, 50))
        await Leader(cluster, bound, plain).takes_over()
        assert cluster.read == []

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
