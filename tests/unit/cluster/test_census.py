"""What vanished unseen is found, and nothing else is taken for vanished. In virtual time, over HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from aiohttp import web

from dra_operator.api.kinds import NODES, PODS
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.cluster.census import FEW, INTERVAL, PROBE, Census
from tests.unit.cluster.apiserver import ApiServer, play, status, until

LIST_PATH = "/api/v1/pods"


def key(name: str) -> ObjectKey:
    return ObjectKey("ns", name)


def create(server: ApiServer, name: str, uid: str | None = None) -> None:
    pod = {"metadata": {"name": name, "namespace": "ns", "uid": uid or f"uid-{name}"}, "spec": {"big": "x" * 100}}
    server.put(f"/api/v1/namespaces/ns/pods/{name}", pod)


def delete(server: ApiServer, name: str) -> None:
    del server.objects[f"/api/v1/namespaces/ns/pods/{name}"]


class Mirror:
    """What the census compares with, and what it was told."""

    def __init__(self, *names: str) -> None:
        self.pods = {key(name): Uid(f"uid-{name}") for name in names}
        self.vanished: list[tuple[ObjectKey, Uid]] = []

    def known(self) -> dict[ObjectKey, Uid]:
        return self.pods

    def on_vanished(self, pod: ObjectKey, uid: Uid) -> None:
        self.vanished.append((pod, uid))
        del self.pods[pod]


@asynccontextmanager
async def counting(server: ApiServer, mirror: Mirror) -> AsyncIterator[Census]:
    async with server.client() as client:
        yield Census(client, PODS, mirror.known, mirror.on_vanished, rng=random.Random(0))


@asynccontextmanager
async def running(server: ApiServer, mirror: Mirror) -> AsyncIterator[Census]:
    async with counting(server, mirror) as census:
        task = asyncio.ensure_future(census.run())
        try:
            await census.taken.wait()
            yield census
            assert not task.done()
        finally:
            task.cancel()


def test_what_is_known_and_not_listed_has_vanished() -> None:
    async def scenario(server: ApiServer) -> None:
        mirror = Mirror("stays", "gone", "gone-too")
        create(server, "stays")
        create(server, "new")
        async with counting(server, mirror) as census:
            assert await census.take() == 2
        assert mirror.vanished == [(key("gone"), Uid("uid-gone")), (key("gone-too"), Uid("uid-gone-too"))]

    play(scenario)


def test_only_metadata_is_asked_for() -> None:
    async def scenario(server: ApiServer) -> None:
        async with counting(server, Mirror()) as census:
            await census.take()
        [asked] = server.asked
        assert asked.path == LIST_PATH
        assert asked.accept.startswith("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")

    play(scenario)


def test_all_chunks_count() -> None:
    async def scenario(server: ApiServer) -> None:
        names = [f"pod-{number}" for number in range(1_203)]
        for name in names:
            create(server, name)
        mirror = Mirror(*names, "gone")
        async with counting(server, mirror) as census:
            assert await census.take() == 1
        assert len(server.asked) == 3

    play(scenario)


def test_a_successor_of_the_same_name_does_not_hide_that_the_first_is_gone() -> None:
    async def scenario(server: ApiServer) -> None:
        mirror = Mirror("pod")
        create(server, "pod", uid="another")
        async with counting(server, mirror) as census:
            await census.take()
        assert mirror.vanished == [(key("pod"), Uid("uid-pod"))]

    play(scenario)


def test_cluster_scoped_objects_are_found_by_name() -> None:
    async def scenario(server: ApiServer) -> None:
        server.put("/api/v1/nodes/n1", {"metadata": {"name": "n1", "uid": "u1"}})
        known = {ObjectKey("", "n1"): Uid("u1"), ObjectKey("", "n2"): Uid("u2")}
        gone: list[ObjectKey] = []
        async with server.client() as client:
            census = Census(client, NODES, lambda: known, lambda node, uid: gone.append(node), rng=random.Random(0))
            await census.take()
        assert gone == [ObjectKey("", "n2")]

    play(scenario)


def during_list(server: ApiServer, change: object) -> None:
    """Have `change` happen after the server has listed and before its answer is out."""

    async def fault(request: web.Request) -> web.Response:
        server.faults.remove(fault)
        answer = server.answer_list(request)
        assert callable(change)
        change()
        return answer

    server.faults.append(fault)


def test_what_was_created_after_the_list_began_has_not_vanished() -> None:
    async def scenario(server: ApiServer) -> None:
        mirror = Mirror("old")
        create(server, "old")

        def created() -> None:
            create(server, "young")
            mirror.pods[key("young")] = Uid("uid-young")

        during_list(server, created)
        async with counting(server, mirror) as census:
            assert await census.take() == 0
        assert mirror.vanished == []

    play(scenario)


def test_what_was_replaced_while_it_was_listed_has_not_vanished() -> None:
    async def scenario(server: ApiServer) -> None:
        mirror = Mirror("pod")

        def replaced() -> None:
            create(server, "pod", uid="second")
            mirror.pods[key("pod")] = Uid("second")

        during_list(server, replaced)
        async with counting(server, mirror) as census:
            assert await census.take() == 0

    play(scenario)


def test_what_the_mirror_has_forgotten_meanwhile_is_not_reported_again() -> None:
    async def scenario(server: ApiServer) -> None:
        mirror = Mirror("pod")
        during_list(server, mirror.pods.clear)
        async with counting(server, mirror) as census:
            assert await census.take() == 0

    play(scenario)


def test_a_failed_list_says_nothing_about_anything() -> None:
    async def refuse(request: web.Request) -> web.Response:
        return status(403, "Forbidden")

    async def scenario(server: ApiServer) -> None:
        mirror = Mirror("pod")
        create(server, "pod")
        server.faults.append(refuse)
        async with counting(server, mirror) as census:
            task = asyncio.ensure_future(census.run())
            await until(lambda: len(server.asked) >= 3)
            assert mirror.vanished == []
            server.faults.clear()
            await asyncio.wait_for(census.taken.wait(), 10)
            assert mirror.vanished == []
            task.cancel()

    play(scenario)


def test_an_answer_that_is_no_list_does_not_end_the_census() -> None:
    async def garbage(request: web.Request) -> web.Response:
        server_is_broken.append(True)
        return web.Response(body=b"<html>")

    server_is_broken: list[bool] = []

    async def scenario(server: ApiServer) -> None:
        mirror = Mirror("gone")
        server.faults.append(garbage)
        async with counting(server, mirror) as census:
            task = asyncio.ensure_future(census.run())
            await until(lambda: server_is_broken)
            server.faults.clear()
            await until(lambda: mirror.vanished)
            task.cancel()

    play(scenario)


def test_the_first_census_is_taken_at_start() -> None:
    async def scenario(server: ApiServer) -> None:
        create(server, "a")
        mirror = Mirror("gone")
        async with running(server, mirror):
            assert asyncio.get_running_loop().time() < 0.1
            assert [pod for pod, _ in mirror.vanished] == [key("gone")]

    play(scenario)


def test_requests_make_one_census_within_a_second() -> None:
    async def scenario(server: ApiServer) -> None:
        mirror = Mirror("pod")
        create(server, "pod")
        async with running(server, mirror) as census:
            delete(server, "pod")
            asked = asyncio.get_running_loop().time()
            for _ in range(5):
                census.request()
                await asyncio.sleep(0.05)
            await until(lambda: mirror.vanished)
            assert asyncio.get_running_loop().time() - asked <= 1.0
            await asyncio.sleep(INTERVAL / 2)
            assert len(server.asked) == 2

    play(scenario)


def test_a_request_during_a_census_makes_another() -> None:
    async def scenario(server: ApiServer) -> None:
        mirror = Mirror("pod")
        create(server, "pod")
        async with running(server, mirror) as census:

            def meanwhile() -> None:
                delete(server, "pod")
                census.request()

            during_list(server, meanwhile)
            census.request()
            await until(lambda: mirror.vanished, within=3)

    play(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_a_census_is_taken_every_ten_minutes_more_or_less(seed: int) -> None:
    async def scenario(server: ApiServer) -> None:
        async with running(server, Mirror()):
            await asyncio.sleep(6 * INTERVAL)
        times = [one.at for one in server.asked]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert len(gaps) >= 5
        assert all(0.9 * INTERVAL <= gap <= 1.1 * INTERVAL + 1 for gap in gaps)
        assert len({round(gap) for gap in gaps}) > 1

    play(scenario, seed=seed)


@pytest.mark.parametrize("count", [1, FEW, FEW + 1])
def test_that_everything_vanished_is_found_unasked_within_seconds(count: int) -> None:
    async def scenario(server: ApiServer) -> None:
        names = [f"pod-{number}" for number in range(count)]
        mirror = Mirror(*names)
        for name in names:
            create(server, name)
        async with running(server, mirror):
            for name in names:
                delete(server, name)
            since = asyncio.get_running_loop().time()
            await until(lambda: len(mirror.vanished) == count)
            assert asyncio.get_running_loop().time() - since < 2 * PROBE

    play(scenario)


def test_that_all_of_few_vanished_is_found_though_others_have_come() -> None:
    async def scenario(server: ApiServer) -> None:
        mirror = Mirror("last")
        create(server, "last")
        async with running(server, mirror):
            delete(server, "last")
            create(server, "first")
            await until(lambda: mirror.vanished == [(key("last"), Uid("uid-last"))])

    play(scenario)


def test_nothing_is_asked_while_nothing_is_known() -> None:
    async def scenario(server: ApiServer) -> None:
        async with running(server, Mirror()):
            await asyncio.sleep(INTERVAL / 2)
            assert len(server.asked) == 1

    play(scenario)
