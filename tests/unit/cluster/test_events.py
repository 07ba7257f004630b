"""Events: what is recorded, what becomes a count, what is dropped. The server holds them to the API's limits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.names import REPORTING_CONTROLLER
from dra_operator.cluster.events import (
    NOTE_MAX,
    OBJECT_BURST,
    OBJECT_REFILL,
    QUEUE_MAX,
    SERIES_SECONDS,
    TOTAL_BURST,
    TOTAL_REFILL,
    EventRecorder,
)
from dra_operator.lifecycle.actions import Notice
from tests.unit.cluster.apiserver import ApiServer, play, status, until

POD = Notice("Pod", ObjectKey("ns", "pod"), Uid("u1"), "Normal", "Allocated", "1 device on node n")
CLAIM = Notice("ResourceClaim", ObjectKey("ns", "claim"), Uid("u2"), "Warning", "Conflict", "given to another")


@asynccontextmanager
async def recording(server: ApiServer, *, instance: str = "replica-1") -> AsyncIterator[EventRecorder]:
    async with server.client() as client:
        recorder = EventRecorder(client, instance=instance, rng=random.Random(0))
        task = asyncio.ensure_future(recorder.run())
        try:
            yield recorder
            assert not task.done()
        finally:
            task.cancel()


def events(server: ApiServer) -> list[dict[str, Any]]:
    return list(server.objects.values())


@pytest.mark.parametrize(("notice", "version"), [(POD, "v1"), (CLAIM, "resource.k8s.io/v1")], ids=["pod", "claim"])
def test_a_notice_becomes_an_event_about_its_object(notice: Notice, version: str) -> None:
    async def scenario(server: ApiServer) -> None:
        async with recording(server) as recorder:
            recorder.record(notice)
            await until(lambda: server.objects)
        [event] = events(server)
        assert event["regarding"] == {
            "apiVersion": version,
            "kind": notice.kind,
            "namespace": "ns",
            "name": notice.key.name,
            "uid": notice.uid,
        }
        assert (event["type"], event["reason"], event["note"]) == (notice.type, notice.reason, notice.message)
        assert event["reportingController"] == REPORTING_CONTROLLER
        assert event["metadata"]["name"].startswith(f"{notice.key.name}.")
        assert "series" not in event
        assert server.asked[0].path == "/apis/events.k8s.io/v1/namespaces/ns/events"

    play(scenario)


def test_the_same_notice_again_is_counted_on_the_first_event() -> None:
    async def scenario(server: ApiServer) -> None:
        async with recording(server) as recorder:
            for count in (1, 2, 3):
                recorder.record(POD)
                await until(lambda count=count: len(server.asked) == count)  # type: ignore[misc]
                await asyncio.sleep(SERIES_SECONDS - 1)
        [event] = events(server)
        assert event["series"]["count"] == 3
        assert [one.method for one in server.asked] == ["POST", "PATCH", "PATCH"]

    play(scenario)


def test_after_ten_quiet_minutes_a_notice_is_a_new_event() -> None:
    async def scenario(server: ApiServer) -> None:
        async with recording(server) as recorder:
            recorder.record(POD)
            await until(lambda: server.objects)
            await asyncio.sleep(SERIES_SECONDS + 1)
            recorder.record(POD)
            await until(lambda: len(server.objects) == 2)

    play(scenario)


@pytest.mark.parametrize(
    "other",
    [
        replace(POD, message="2 devices"),
        replace(POD, reason="Conflict"),
        replace(POD, type="Warning"),
        replace(POD, uid=Uid("successor")),
    ],
    ids=["message", "reason", "type", "uid"],
)
def test_a_notice_that_differs_is_an_event_of_its_own(other: Notice) -> None:
    async def scenario(server: ApiServer) -> None:
        async with recording(server) as recorder:
            recorder.record(POD)
            recorder.record(other)
            await until(lambda: len(server.objects) == 2)

    play(scenario)


def test_a_series_whose_event_has_expired_begins_anew() -> None:
    async def scenario(server: ApiServer) -> None:
        async with recording(server) as recorder:
            recorder.record(POD)
            await until(lambda: server.objects)
            server.objects.clear()
            recorder.record(POD)
            await until(lambda: server.objects)
            recorder.record(POD)
            await until(lambda: "series" in events(server)[0])
        assert events(server)[0]["series"]["count"] == 2

    play(scenario)


TEXTS = {"ascii": "x", "two bytes": "é", "three bytes": "→", "four bytes": "🂡"}


@pytest.mark.parametrize("letter", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("length", [NOTE_MAX - 1, NOTE_MAX, NOTE_MAX + 1, 5_000])
def test_long_texts_are_cut_to_what_the_api_takes(letter: str, length: int) -> None:
    async def scenario(server: ApiServer) -> None:
        async with recording(server, instance=letter * length) as recorder:
            recorder.record(replace(POD, message=letter * length, reason=letter * length))
            await until(lambda: server.objects)
        [event] = events(server)
        whole = len((letter * length).encode()) <= NOTE_MAX
        assert event["note"].endswith(letter if whole else "…")
        assert len(event["note"].encode()) > min(NOTE_MAX - 8, length - 1)

    play(scenario)


@pytest.mark.parametrize("name", ["a" * 253, "a" * 199 + "-" + "b" * 53, "a" * 198 + ".-" + "b" * 53])
def test_a_long_name_gives_a_valid_name(name: str) -> None:
    async def scenario(server: ApiServer) -> None:
        async with recording(server) as recorder:
            recorder.record(replace(POD, key=ObjectKey("ns", name)))
            await until(lambda: server.objects)
        assert events(server)[0]["regarding"]["name"] == name

    play(scenario)


def test_one_object_has_a_burst_and_then_a_slow_rate_and_leaves_others_alone() -> None:
    async def scenario(server: ApiServer) -> None:
        async with recording(server) as recorder:
            for number in range(50):
                recorder.record(replace(POD, message=str(number)))
            recorder.record(CLAIM)
            await until(lambda: len(server.objects) == OBJECT_BURST + 1)
            assert recorder.dropped == 50 - OBJECT_BURST
            await asyncio.sleep(2 / OBJECT_REFILL)
            for number in range(50, 60):
                recorder.record(replace(POD, message=str(number)))
            await until(lambda: len(server.objects) == OBJECT_BURST + 1 + 2)

    play(scenario)


def of_object(number: int) -> Notice:
    return replace(POD, uid=Uid(str(number)), key=ObjectKey("ns", f"pod-{number}"))


def test_all_objects_together_have_a_burst_and_then_a_rate() -> None:
    async def scenario(server: ApiServer) -> None:
        async with recording(server) as recorder:
            for number in range(int(TOTAL_BURST) + 100):
                recorder.record(of_object(number))
            assert recorder.dropped == 100
            await asyncio.sleep(1)
            for number in range(100):
                recorder.record(of_object(10_000 + number))
            assert recorder.dropped == 100 + (100 - TOTAL_REFILL)
            await until(lambda: len(server.objects) == TOTAL_BURST + TOTAL_REFILL)

    play(scenario)


def test_what_the_total_turns_away_costs_its_object_nothing() -> None:
    async def scenario(server: ApiServer) -> None:
        async with recording(server) as recorder:
            for number in range(int(TOTAL_BURST)):
                recorder.record(of_object(number))
            for _ in range(int(OBJECT_BURST)):
                recorder.record(CLAIM)
            await asyncio.sleep(2)
            for number in range(int(OBJECT_BURST)):
                recorder.record(replace(CLAIM, message=str(number)))
            assert recorder.dropped == OBJECT_BURST

    play(scenario)


def test_recording_never_waits_for_a_server_that_hangs() -> None:
    async def hang(request: web.Request) -> None:
        await asyncio.sleep(1_000_000)

    async def scenario(server: ApiServer) -> None:
        server.faults.append(hang)
        async with recording(server) as recorder:
            began = asyncio.get_running_loop().time()
            for number in range(10 * QUEUE_MAX):
                recorder.record(of_object(number))
                if number % 50 == 0:
                    await asyncio.sleep(1)
            assert recorder.dropped > 0
            assert asyncio.get_running_loop().time() - began < 201
            server.faults.clear()
            await until(lambda: len(server.objects) >= QUEUE_MAX - 10)

    play(scenario)


@pytest.mark.parametrize(
    "answer", [(403, "Forbidden"), (422, "Invalid"), (500, "InternalError")], ids=lambda one: str(one[0])
)
def test_a_refused_event_is_dropped_and_the_next_is_sent(answer: tuple[int, str]) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return status(*answer)

    async def scenario(server: ApiServer) -> None:
        server.faults.append(refuse)
        async with recording(server) as recorder:
            recorder.record(POD)
            await until(lambda: server.asked)
            server.faults.clear()
            recorder.record(CLAIM)
            await until(lambda: server.objects)
        assert events(server)[0]["regarding"]["kind"] == "ResourceClaim"

    play(scenario)


def test_a_notice_about_an_unknown_kind_does_not_end_the_recorder() -> None:
    async def scenario(server: ApiServer) -> None:
        async with recording(server) as recorder:
            recorder.record(replace(POD, kind="Teapot"))
            recorder.record(CLAIM)
            await until(lambda: server.objects)

    play(scenario)
