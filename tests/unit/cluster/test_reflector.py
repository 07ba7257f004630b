"""The mirror: one test for each row of the reflector's table, and the order in which its sink hears of things."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from dra_operator.api.kinds import CLAIMS
from dra_operator.api.meta import ObjectKey
from dra_operator.api.resource import ResourceClaim
from dra_operator.cluster.http import WATCH_LINE_MAX, ApiClient
from dra_operator.cluster.pace import LATER_MAX
from dra_operator.cluster.reflector import CATCH_UP_SECONDS, TURN_BYTES, Reflector
from tests.unit.cluster.script import Answer, Script, Slow, eventually, failure, listing, play

Heard = tuple[Any, ...]


class Sink:
    """Notes what it hears: `("LIST", version, names)` and `(type, name@version)`."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.takes = 0.0
        """Seconds to take in a list."""

    async def replace(self, objects: Sequence[ResourceClaim], resource_version: str) -> None:
        await asyncio.sleep(self.takes)
        self.heard.append(("LIST", resource_version, [_said(one) for one in objects]))

    def apply(self, type_: str, object_: ResourceClaim) -> None:
        self.heard.append((type_, _said(object_)))


def _said(claim: ResourceClaim) -> str:
    return f"{claim.metadata.name}@{claim.metadata.resource_version}"


def claim(name: str, version: int, **more: Any) -> dict[str, Any]:
    metadata = {"namespace": "ns", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": metadata, **more}


def unreadable(name: str, version: int) -> dict[str, Any]:
    return claim(name, version, spec={"devices": 7})


def error(code: int, reason: str) -> Any:
    return failure(code, reason).body


def mirror(
    scenario: Callable[[Script, Sink, Reflector[ResourceClaim]], Awaitable[None]],
    *lists: Answer,
    prepare: Callable[[ResourceClaim], None] = lambda claim: None,
) -> tuple[list[Heard], Script]:
    """Run a reflector of claims against a script that answers LISTs with `lists`, the last one ever again."""

    async def played(script: Script) -> tuple[list[Heard], Script]:
        script.tell(*lists[:-1])
        script.otherwise = lists[-1]
        sink = Sink()
        async with ApiClient(script.url) as client:
            reflector = Reflector(client, CLAIMS, sink, rng=random.Random(1), prepare=prepare)
            running = asyncio.create_task(reflector.run())
            await reflector.synced.wait()
            try:
                await scenario(script, sink, reflector)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        return sink.heard, script

    return play(played)


async def heard(sink: Sink, *what: Heard) -> None:
    """Wait until the sink has heard it, and nothing after it."""
    await eventually(lambda: sink.heard[-len(what) :] == list(what))


def gap(script: Script) -> float:
    """Seconds between the last two requests."""
    return script.seen[-1].at - script.seen[-2].at


# --- in order --------------------------------------------------------------------------------------------------------


def test_what_is_listed_comes_whole_and_what_is_watched_one_by_one_in_order() -> None:
    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        assert watch.version == "10"
        assert watch.seen.query["allowWatchBookmarks"] == "true"
        watch.send("ADDED", claim("b", 11))
        watch.send("MODIFIED", claim("a", 12))
        watch.send("DELETED", claim("b", 13))
        await heard(sink, ("DELETED", "b@13"))

    assert mirror(scenario, listing("10", claim("a", 5)))[0] == [
        ("LIST", "10", ["a@5"]),
        ("ADDED", "b@11"),
        ("MODIFIED", "a@12"),
        ("DELETED", "b@13"),
    ]


def test_every_object_is_prepared_once_before_it_is_handed_over() -> None:
    prepared: list[str] = []

    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        assert prepared == ["a@5", "b@6"]
        (await script.watch(1)).send("ADDED", claim("c", 11))
        await heard(sink, ("ADDED", "c@11"))
        assert prepared == ["a@5", "b@6", "c@11"]

    def prepare(claim: ResourceClaim) -> None:
        prepared.append(_said(claim))

    mirror(scenario, listing("10", claim("a", 5), claim("b", 6)), prepare=prepare)


def test_a_list_in_chunks_is_handed_over_once() -> None:
    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        await script.watch(1)

    pages = (listing("10", claim("a", 5), more="next"), listing("10", claim("b", 6)))
    told, script = mirror(scenario, *pages)

    assert told == [("LIST", "10", ["a@5", "b@6"])]
    assert [one.query.get("continue") for one in script.requests("GET")] == [None, "next"]


def test_events_that_arrive_in_pieces_are_put_together() -> None:
    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        watch.raw(b'{"type":"ADDED","object":{"metadata":{"na')
        watch.raw(b'me":"a","resourceVersion":"11"}}}\n\n{"type":"ADDED","object":{"metadata":{"name":"b"')
        watch.raw(b',"resourceVersion":"12"}}}\n')
        await heard(sink, ("ADDED", "a@11"), ("ADDED", "b@12"))

    mirror(scenario, listing("10"))


# --- the rows of the table -------------------------------------------------------------------------------------------


def test_ended_by_the_server_it_goes_on_from_the_last_version_at_once() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        watch.send("ADDED", claim("a", 11))
        await heard(sink, ("ADDED", "a@11"))
        watch.end()
        assert (await script.watch(2)).version == "11"
        assert gap(script) < 0.1
        assert reflector.lists == 1

    mirror(scenario, listing("10"))


def test_ended_after_a_quiet_while_it_goes_on_at_once() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        await asyncio.sleep(60)
        watch.end()
        ended = asyncio.get_running_loop().time()
        assert (await script.watch(2)).version == "10"
        assert script.seen[-1].at - ended < 0.1

    mirror(scenario, listing("10"))


def test_ended_at_once_without_a_word_it_pauses_ever_longer() -> None:
    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        for number in range(1, 4):
            (await script.watch(number)).end()
        await script.watch(4)
        times = [one.at for one in script.seen if "watch" in one.query]
        assert 0.1 <= times[1] - times[0] <= 0.3
        assert 0.4 <= times[3] - times[2] <= 0.9

    mirror(scenario, listing("10"))


def test_a_reset_connection_goes_on_from_the_last_version() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        watch.send("ADDED", claim("a", 11))
        await heard(sink, ("ADDED", "a@11"))
        watch.reset()
        assert (await script.watch(2)).version == "11"
        assert reflector.lists == 1

    mirror(scenario, listing("10"))


def test_a_line_cut_off_by_the_end_is_not_taken() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        watch.raw(b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"11"}}}')
        watch.end()
        assert (await script.watch(2)).version == "10"
        assert reflector.lists == 1

    assert mirror(scenario, listing("10"))[0] == [("LIST", "10", [])]


def test_a_silent_watch_is_taken_for_dead() -> None:
    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        await script.watch(1)
        opened = asyncio.get_running_loop().time()
        await script.watch(2)
        assert 120 < asyncio.get_running_loop().time() - opened < 240, "bookmarks may be two minutes apart"

    mirror(scenario, listing("10"))


def test_bookmarks_keep_a_watch_alive_and_move_the_version_on() -> None:
    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        for version in range(20, 24):
            await asyncio.sleep(60)
            watch.send("BOOKMARK", {"kind": "ResourceClaim", "metadata": {"resourceVersion": str(version)}})
        await asyncio.sleep(1)
        assert len(script.watches) == 1
        watch.end()
        assert (await script.watch(2)).version == "23"

    assert mirror(scenario, listing("10"))[0] == [("LIST", "10", [])]


@pytest.mark.parametrize("refusal", [failure(500, "InternalError"), failure(429, "TooManyRequests")])
def test_a_refused_watch_is_tried_again_from_the_same_version(refusal: Answer) -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        script.tell_watches(refusal)
        assert (await script.watch(1)).version == "10"
        assert gap(script) >= 0.1
        assert reflector.lists == 1

    mirror(scenario, listing("10"))


def test_no_sooner_than_the_server_asks() -> None:
    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        script.tell_watches(failure(429, "TooManyRequests", retry_after=7))
        await script.watch(1)
        assert gap(script) >= 7 - 1e-6

    mirror(scenario, listing("10"))


def test_but_no_server_is_left_alone_for_a_year() -> None:
    year = 365 * 86400

    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        script.tell_watches(failure(429, "TooManyRequests", retry_after=year))
        await script.watch(1)
        assert gap(script) < 1.2 * LATER_MAX

    mirror(scenario, failure(503, "ServiceUnavailable", retry_after=year), listing("10"))


def test_a_version_of_the_future_ends_in_the_list_that_is_told_time_and_again() -> None:
    """After a restore of etcd: the server waits for that version, and says 504 each time."""

    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        script.tell_watches(*[failure(504, "Timeout", "Too large resource version: 99, current: 10")] * 4)
        watch = await script.watch(1)
        assert watch.version == "10"
        watch.send("ERROR", error(410, "Expired"))
        assert (await script.watch(2)).version == "10"  # from now on that is the time

    told, script = mirror(scenario, listing("99"), listing("10"))
    assert told == [("LIST", "99", []), ("LIST", "10", []), ("LIST", "10", [])]
    assert [seen.query.get("watch") for seen in script.seen].count(None) == 1 + 8 + 1


@pytest.mark.parametrize("last", [("ADDED", claim("b", 12)), ("BOOKMARK", {"metadata": {"resourceVersion": "12"}})])
def test_a_list_older_than_what_was_shown_is_asked_for_again(last: tuple[str, Any]) -> None:
    """Of a cache that lags behind: a claim that it lacks is not gone, nor free the devices that it shows as free."""

    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        watch.send(*last)
        watch.send("ERROR", error(410, "Expired"))
        assert (await script.watch(2)).version == "12"

    told = mirror(scenario, listing("10"), listing("10"), listing("11"), listing("12", claim("b", 12)))[0]
    assert [heard[:2] for heard in told if heard[0] == "LIST"] == [("LIST", "10"), ("LIST", "12")]


def test_gone_by_status_lists_anew_at_once() -> None:
    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        watch.send("ADDED", claim("b", 11))
        await heard(sink, ("ADDED", "b@11"))
        script.tell_watches(failure(410, "Expired"))
        watch.end()
        assert (await script.watch(2)).version == "20"
        assert script.seen[-1].at - script.seen[-3].at < 0.1

    assert mirror(scenario, listing("10", claim("a", 5)), listing("20", claim("b", 11)))[0] == [
        ("LIST", "10", ["a@5"]),
        ("ADDED", "b@11"),
        ("LIST", "20", ["b@11"]),  # without a: that is its tombstone
    ]


def test_gone_by_event_lists_anew_at_once() -> None:
    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        (await script.watch(1)).send("ERROR", error(410, "Expired"))
        assert (await script.watch(2)).version == "20"
        assert script.seen[-1].at - script.seen[-3].at < 0.1

    mirror(scenario, listing("10"), listing("20"))


def test_gone_again_and_again_does_not_spin() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        script.tell_watches(*[failure(410, "Expired")] * 1000)
        await asyncio.sleep(60)
        assert reflector.lists < 15

    mirror(scenario, listing("10"))


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"no JSON\n", id="no JSON"),
        pytest.param(b"\xff\xfe\n", id="no UTF-8"),
        pytest.param(b'{"kind":"Status"}\n', id="no event"),
        pytest.param(b'{"type":"RENAMED","object":{}}\n', id="unknown type"),
        pytest.param(b'{"type":"ERROR","object":{"kind":"Status","code":500}}\n', id="ERROR that is not 410"),
        pytest.param(b'{"type":"ADDED","object":{"metadata":7}}\n', id="no metadata"),
        pytest.param(b"x" * (WATCH_LINE_MAX + 1), id="too long"),
    ],
)
def test_a_line_that_is_no_watch_event_lists_anew_after_a_pause(line: bytes) -> None:
    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        (await script.watch(1)).raw(line)
        assert (await script.watch(2)).version == "20"
        assert script.requests("GET")[-1].at - script.watches[0].seen.at >= 0.1

    mirror(scenario, listing("10"), listing("20"))


def test_a_forbidden_watch_lists_anew_after_a_pause() -> None:
    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        script.tell_watches(failure(403, "Forbidden"))
        assert (await script.watch(1)).version == "20"
        assert script.requests("GET")[-1].at - script.requests("GET")[0].at >= 0.1

    mirror(scenario, listing("10"), listing("20"))


def test_a_list_that_fails_is_tried_again_until_it_succeeds() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        await script.watch(1)
        assert reflector.lists == 1

    refusals = [failure(403, "Forbidden")] * 3
    assert mirror(scenario, *refusals, listing("", claim("a", 5)), Answer(200, b"<html>"), listing("10"))[0] == [
        ("LIST", "10", [])
    ]


@pytest.mark.parametrize("code", [403, 404])
def test_a_resource_that_is_not_served_or_not_for_us_is_settled_and_asked_for_again(code: int) -> None:
    async def played(script: Script) -> list[Heard]:
        script.tell(failure(500, "InternalError"), *[failure(code, "")] * 2)
        script.otherwise = listing("10", claim("a", 5))
        sink = Sink()
        async with ApiClient(script.url) as client:
            reflector = Reflector(client, CLAIMS, sink, rng=random.Random(1))
            running = asyncio.create_task(reflector.run())
            await reflector.settled.wait()
            assert len(script.requests("GET")) == 2
            assert not reflector.synced.is_set()
            await reflector.synced.wait()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return sink.heard

    assert play(played) == [("LIST", "10", ["a@5"])]


# --- caught up -------------------------------------------------------------------------------------------------------


def test_a_mirror_that_shows_all_there_is_has_caught_up_at_once() -> None:
    """The version of the list is far ahead, since it counts the writes to all resources."""

    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        await script.watch(1)
        await reflector.catch_up()
        asked = script.seen[-1]
        assert "PartialObjectMetadataList" in asked.headers["Accept"]
        assert "resourceVersion" not in asked.query, "what there is, not what a cache shows"
        assert (reflector.lists, len(script.watches)) == (1, 1)

    mirror(scenario, listing("10", claim("a", 5)), listing("90", claim("a", 5)))


@pytest.mark.parametrize(
    ("there_is", "event"),
    [
        pytest.param([claim("a", 5), claim("b", 50)], ("ADDED", claim("b", 50)), id="created"),
        pytest.param([claim("a", 50)], ("MODIFIED", claim("a", 50)), id="changed"),
        pytest.param([claim("a", 50)], ("MODIFIED", claim("a", 60)), id="changed again meanwhile"),
        pytest.param([], ("DELETED", claim("a", 50)), id="deleted"),
        pytest.param([claim("a", 50)], ("DELETED", claim("a", 91)), id="changed, and deleted since"),
        pytest.param([claim("a", 50)], ("BOOKMARK", claim("", 95)), id="behind for all we know, until a bookmark"),
    ],
)
def test_what_the_watch_has_not_brought_yet_is_waited_for(there_is: list[Any], event: tuple[str, Any]) -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        catching_up = asyncio.create_task(reflector.catch_up())
        await asyncio.sleep(CATCH_UP_SECONDS / 2)
        assert not catching_up.done()
        watch.send(*event)
        await catching_up
        assert (reflector.lists, len(script.requests("GET")), len(script.watches)) == (1, 2, 1)

    mirror(scenario, listing("10", claim("a", 5)), listing("90", *there_is))


def test_what_the_watch_does_not_bring_is_listed() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        await script.watch(1)
        await reflector.catch_up()
        assert (reflector.lists, len(script.requests("GET"))) == (2, 3)
        assert sink.heard[-1] == ("LIST", "90", ["b@50"])
        assert (await script.watch(2)).version == "90"

    mirror(scenario, listing("10", claim("a", 5)), listing("90", claim("b", 50)))


def test_a_pause_before_the_next_watch_is_cut_short_by_a_list() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        script.tell_watches(failure(429, "TooManyRequests", retry_after=100))
        await eventually(lambda: "watch" in script.seen[-1].query)
        await reflector.catch_up()
        assert reflector.lists == 2
        assert script.requests("GET")[-1].at < 100

    mirror(scenario, listing("10", claim("a", 5)), listing("90", claim("b", 50)))


def test_a_list_that_fails_meanwhile_is_tried_until_it_succeeds() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        await script.watch(1)
        script.tell(listing("90", claim("b", 50)), *[failure(403, "Forbidden")] * 3)
        await reflector.catch_up()
        assert sink.heard[-1] == ("LIST", "91", ["b@50"])

    mirror(scenario, listing("10", claim("a", 5)), listing("91", claim("b", 50)))


def test_an_object_that_can_not_be_read_is_not_waited_for() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        await script.watch(1)
        await reflector.catch_up()
        assert reflector.lists == 1

    mirror(scenario, listing("10", unreadable("a", 5)), listing("90", unreadable("a", 50)))


def came_and_went(key: str) -> list[tuple[str, Any]]:
    """The events of a claim that was created, allocated and deleted between the watch's position and the list."""
    return [("ADDED", claim(key, 11)), ("MODIFIED", claim(key, 12)), ("DELETED", claim(key, 13))]


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(came_and_went("c"), id="created and deleted"),
        pytest.param(came_and_went("c")[:2], id="its deletion is to come"),
        pytest.param([("ADDED", unreadable("c", 11))], id="it could not be read"),
    ],
)
def test_what_came_and_went_before_is_not_told_of_afterwards(events: list[tuple[str, Any]]) -> None:
    """Neither the mirror nor the list shows it, and the watch is yet to tell of it."""

    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        await reflector.catch_up()
        for event in events:
            watch.send(*event)
        watch.send("ADDED", claim("new", 91))
        await heard(sink, ("LIST", "10", ["a@5"]), ("ADDED", "new@91"))
        assert not reflector.unreadable
        watch.end()
        assert (await script.watch(2)).version == "91"

    mirror(scenario, listing("10", claim("a", 5)), listing("90", claim("a", 5)))


def test_a_list_asked_for_before_and_answered_afterwards_shows_nothing_that_was_gone() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        script.tell(Slow(listing("80", claim("a", 5), claim("c", 70)), 5.0), listing("90", claim("a", 5)))
        watch.send("ERROR", {"kind": "Status", "code": 410})
        await eventually(lambda: len(script.requests("GET")) == 2)
        await reflector.catch_up()
        anew = await script.watch(2)
        anew.send("DELETED", claim("c", 85))
        anew.send("ADDED", claim("new", 91))
        await heard(sink, ("LIST", "10", ["a@5"]), ("LIST", "80", ["a@5"]), ("ADDED", "new@91"))

    mirror(scenario, listing("10", claim("a", 5)))


def test_a_list_that_is_being_taken_in_is_waited_for_and_so_is_what_it_shows_that_is_gone() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        sink.takes = 5.0
        script.tell(listing("80", claim("a", 5), claim("c", 70)), listing("90", claim("a", 5)))
        watch.send("ERROR", {"kind": "Status", "code": 410})
        await eventually(lambda: len(script.requests("GET")) == 2)
        await asyncio.sleep(1.0)
        catching_up = asyncio.create_task(reflector.catch_up())
        anew = await script.watch(2)
        await heard(sink, ("LIST", "80", ["a@5", "c@70"]))
        assert not catching_up.done()
        anew.send("DELETED", claim("c", 85))
        await catching_up
        assert sink.heard[-1] == ("DELETED", "c@85")

    mirror(scenario, listing("10", claim("a", 5)))


def test_a_list_that_is_being_taken_in_for_long_is_not_cut_short_by_what_waits_for_it() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        catching_up = asyncio.create_task(reflector.catch_up())
        await eventually(lambda: len(script.requests("GET")) == 2)
        sink.takes = 3 * CATCH_UP_SECONDS
        watch.send("ERROR", {"kind": "Status", "code": 410})
        await catching_up
        assert sink.heard[1:] == [("LIST", "90", ["b@50"])]

    mirror(scenario, listing("10", claim("a", 5)), listing("90", claim("b", 50)))


def test_once_the_watch_has_come_so_far_all_is_told_again() -> None:
    """Versions are compared with those of the list only as long as the watch is behind it."""

    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        await reflector.catch_up()
        watch.send("BOOKMARK", claim("", 95))
        watch.send("ADDED", claim("c", 20))
        await heard(sink, ("ADDED", "c@20"))

    mirror(scenario, listing("10", claim("a", 5)), listing("90", claim("a", 5)))


def test_what_a_restored_cluster_has_is_shown_although_it_was_gone_when_the_mirror_had_caught_up() -> None:
    """Its versions are those of the past. A claim that was not shown would have its devices given to another."""

    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        await reflector.catch_up()
        watch.send("BOOKMARK", claim("", 95))
        script.tell(*[listing("20", claim("a", 5), claim("back", 15))] * 8)
        watch.send("ERROR", error(410, "Expired"))
        (await script.watch(2)).send("ADDED", claim("new", 21))
        await heard(sink, ("LIST", "20", ["a@5", "back@15"]), ("ADDED", "new@21"))

    mirror(scenario, listing("10", claim("a", 5)), listing("90", claim("a", 5)))


def test_lists_that_fail_while_it_catches_up_keep_their_pauses() -> None:
    """A new leader must not ask a server in trouble for all claims each second."""

    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        await script.watch(1)
        script.tell(listing("90", claim("b", 50)), failure(429, "TooManyRequests", retry_after=20))
        await reflector.catch_up()
        assert script.requests("GET")[-1].at - script.requests("GET")[-2].at >= 20 - 1e-6
        assert len(script.requests("GET")) == 4

    mirror(scenario, listing("10", claim("a", 5)), listing("91", claim("b", 50)))


# --- objects that do not fit -----------------------------------------------------------------------------------------


def test_an_unreadable_object_does_not_take_the_others_along() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        assert list(reflector.unreadable) == [ObjectKey("ns", "bad")]
        watch.send("ADDED", unreadable("worse", 11))
        watch.send("ADDED", claim("c", 12))
        await heard(sink, ("ADDED", "c@12"))
        assert sorted(reflector.unreadable) == [ObjectKey("ns", "bad"), ObjectKey("ns", "worse")]
        watch.end()
        assert (await script.watch(2)).version == "12"

    assert mirror(scenario, listing("10", claim("a", 5), unreadable("bad", 6), claim("b", 7)))[0] == [
        ("LIST", "10", ["a@5", "b@7"]),
        ("ADDED", "c@12"),
    ]


def test_one_that_becomes_unreadable_stays_as_it_was_until_it_is_deleted() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        watch.send("MODIFIED", unreadable("a", 11))
        watch.send("ERROR", error(410, "Expired"))
        watch = await script.watch(2)
        watch.send("DELETED", unreadable("a", 21))
        await heard(sink, ("DELETED", "a@5"))
        assert not reflector.unreadable
        watch.end()
        assert (await script.watch(3)).version == "21"

    assert mirror(scenario, listing("10", claim("a", 5)), listing("20", unreadable("a", 11)))[0] == [
        ("LIST", "10", ["a@5"]),
        ("LIST", "20", ["a@5"]),
        ("DELETED", "a@5"),
    ]


def test_one_that_can_be_read_again_is_heard_of() -> None:
    async def scenario(script: Script, sink: Sink, reflector: Reflector[ResourceClaim]) -> None:
        watch = await script.watch(1)
        watch.send("MODIFIED", unreadable("a", 11))
        watch.send("MODIFIED", claim("a", 12))
        await heard(sink, ("LIST", "10", ["a@5"]), ("MODIFIED", "a@12"))
        assert not reflector.unreadable

    mirror(scenario, listing("10", claim("a", 5)))


def test_an_unreadable_object_of_the_same_name_is_not_the_one_that_was() -> None:
    async def scenario(script: Script, sink: Sink, _: Reflector[ResourceClaim]) -> None:
        (await script.watch(1)).send("ERROR", error(410, "Expired"))
        await script.watch(2)

    other = unreadable("a", 15)
    other["metadata"]["uid"] = "another"
    assert mirror(scenario, listing("10", claim("a", 5)), listing("20", other))[0][-1] == ("LIST", "20", [])


class OneList(ApiClient):
    """Answers every LIST with these objects, and no watch."""

    def __init__(self, objects: Sequence[Any]) -> None:
        super().__init__("http://nowhere")
        self._raw = [msgspec.Raw(json.dumps(one).encode()) for one in objects]

    async def list_raw(self, *_: Any, **__: Any) -> tuple[list[msgspec.Raw], str]:
        return self._raw, "7"

    async def watch(self, *_: Any, **__: Any) -> AsyncGenerator[bytes, None]:
        await asyncio.Event().wait()
        yield b""


def test_large_objects_of_a_list_are_decoded_a_few_at_a_time() -> None:
    """Others get their turn after so many bytes, not so many objects: a driver decides how large its slices are."""
    text = "x" * 100_000
    objects = [claim(f"c{index}", index, status={"note": text}) for index in range(4 * TURN_BYTES // len(text))]

    async def scenario() -> int:
        """The turns that another task had until the list was there."""
        turns = 0
        reflector = Reflector(OneList(objects), CLAIMS, Sink(), rng=random.Random(0))
        running = asyncio.create_task(reflector.run())
        while not reflector.synced.is_set():
            turns += 1
            await asyncio.sleep(0)
        running.cancel()
        return turns

    assert asyncio.run(scenario()) >= 4
