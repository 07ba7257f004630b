"""Evictions as the API server gets them: when, for whom, and what becomes of a refusal."""

from __future__ import annotations

import asyncio
import itertools

import msgspec
from aiohttp import web

from dra_operator.api.core import Pod
from dra_operator.api.resource import DeviceTaint, DeviceToleration
from dra_operator.controller.evictor import PATIENCE_SECONDS, Evictor, TaintEviction
from dra_operator.controller.lists import Lists
from dra_operator.lifecycle.actions import Notice
from dra_operator.lifecycle.view import View
from tests.builders import allocated, claim, node, pod, result, slice_of
from tests.unit.cluster.apiserver import ApiServer, play, status, until
from tests.unit.lifecycle.scene import view_of

LOST = DeviceTaint(key="unhealthy", value="gpu-lost", effect="NoExecute", time_added="2026-01-01T00:00:00Z")


def runner(name: str) -> Pod:
    return pod(name, claims=[name], node_name="node-a", phase="Running")


def scene(*names: str, lost: DeviceTaint = LOST, tolerates: int | None = None) -> View:
    """Pods on devices of their own, all of which are lost."""
    slice_ = slice_of(gpus=len(names), node="node-a")
    devices = tuple(msgspec.structs.replace(device, taints=(lost,)) for device in slice_.spec.devices or ())
    published = msgspec.structs.replace(slice_, spec=msgspec.structs.replace(slice_.spec, devices=devices))
    tolerations = (DeviceToleration(key=lost.key, operator="Exists", toleration_seconds=tolerates),)
    results = [
        msgspec.structs.replace(result(f"node-a/gpu-{index}"), tolerations=tolerations if tolerates else None)
        for index in range(len(names))
    ]
    claims = [
        allocated(claim(name=name), results[index], reserved_for=[runner(name)]) for index, name in enumerate(names)
    ]
    return view_of(node(), published, *(runner(name) for name in names), *claims)


class Desk:
    """An evictor before a small API server, on a clock of the test's."""

    def __init__(self, server: ApiServer, view: View, mode: TaintEviction) -> None:
        self.server = server
        self.view = view
        self.time = 2_000_000_000.0
        self.notices: list[Notice] = []
        self.refused: set[str] = set()
        self.client = server.client()
        self.evictor = Evictor(
            view, self.client, mode, lists=Lists(), now=lambda: self.time, record=self.notices.append
        )
        server.faults.append(self.answer)

    async def answer(self, request: web.Request) -> web.Response:
        refused = any(f"/{name}/eviction" in request.path for name in self.refused)
        return status(429, "TooManyRequests", "the budget", retry_after=10) if refused else status(201, "Created")

    async def asked(self) -> list[str]:
        """For which pods a look asks."""
        before = len(self.server.asked)
        await self.evictor.look()
        return sorted({one.path.split("/")[-2] for one in self.server.asked[before:]})


def test_a_pod_is_evicted_with_its_uid_as_the_condition_and_told_why() -> None:
    async def scenario(server: ApiServer) -> None:
        desk = Desk(server, scene("train"), TaintEviction.ON)
        async with desk.client:
            assert await desk.asked() == ["train"]
        (asked,) = server.requests("POST")
        assert asked.path == "/api/v1/namespaces/default/pods/train/eviction"
        assert asked.body == {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": "train", "namespace": "default"},
            "deleteOptions": {"preconditions": {"uid": runner("train").uid}},
        }
        (notice,) = desk.notices
        assert notice.message == "evicted: a device that the pod uses has the taint unhealthy (gpu-lost)"

    play(scenario)


def test_auto_waits_for_upstreams_controller_first() -> None:
    async def scenario(server: ApiServer) -> None:
        desk = Desk(server, scene("train"), TaintEviction.AUTO)
        async with desk.client:
            assert await desk.asked() == []
            desk.time += PATIENCE_SECONDS - 0.1
            assert await desk.asked() == []
            desk.time += 0.1
            assert await desk.asked() == ["train"]

    play(scenario)


def test_what_a_budget_refuses_is_asked_again_and_holds_up_nobody() -> None:
    async def scenario(server: ApiServer) -> None:
        desk = Desk(server, scene("kept", "train"), TaintEviction.ON)
        desk.refused = {"kept"}
        async with desk.client:
            assert await desk.asked() == ["kept", "train"]
            assert [notice.key.name for notice in desk.notices] == ["train"]
            assert await desk.asked() == []
            desk.time += 5
            desk.refused = set()
            assert await desk.asked() == ["kept", "train"]
        assert {notice.key.name for notice in desk.notices} == {"kept", "train"}

    play(scenario)


def test_a_taint_with_an_odd_time_evicts_after_what_is_tolerated() -> None:
    async def scenario(server: ApiServer) -> None:
        odd = msgspec.structs.replace(LOST, time_added="yesterday")
        desk = Desk(server, scene("train", lost=odd, tolerates=60), TaintEviction.ON)
        async with desk.client:
            assert await desk.asked() == []
            desk.time += 59
            assert await desk.asked() == []
            desk.time += 1
            assert await desk.asked() == ["train"]

    play(scenario)


def test_an_eviction_that_fails_holds_up_no_other_and_a_look_that_fails_is_not_the_last() -> None:
    async def scenario(server: ApiServer) -> None:
        desk = Desk(server, scene("kept", "train"), TaintEviction.ON)
        times = iter([desk.time, desk.time + 5])
        told: list[str] = []
        looks = itertools.count()

        def now() -> float:
            if next(looks) == 0:
                raise RuntimeError("a defect of a look")
            return next(times, desk.time)

        def record(notice: Notice) -> None:
            told.append(notice.key.name)
            raise RuntimeError("a defect of one eviction")

        evictor = Evictor(desk.view, desk.client, TaintEviction.ON, lists=Lists(), now=now, record=record)
        async with desk.client:
            run = asyncio.create_task(evictor.run())
            await until(lambda: len(told) == 4)
            assert sorted(told) == ["kept", "kept", "train", "train"]
            assert not run.done()
            run.cancel()

    play(scenario)
