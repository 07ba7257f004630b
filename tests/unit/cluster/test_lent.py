"""What Kopf asks through a session that is lent to it goes out as our own requests do. In virtual time, over HTTP."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.cluster.pace import LATER_MAX, Endpoint, PaceObserver
from dra_operator.cluster.sign import Sign
from tests.unit.cluster.script import Answer, Hang, Script, Seen, failure, play

NODES = "/api/v1/nodes"
OK = Answer(200, {"items": []})
FORBIDDEN = failure(403, "Forbidden", 'nodes is forbidden: User "u" cannot list resource "nodes" in API group ""')


@asynccontextmanager
async def lent(client: ApiClient) -> AsyncIterator[Callable[[str], asyncio.Task[int]]]:
    """Asks for a path in the way that Kopf does; the task's result is the status of the answer."""
    async with client.lend() as session:

        async def ask(path: str) -> int:
            async with session.request(method="get", url=client.server + path, json=None, headers=None) as answer:
                await answer.json()
                return answer.status

        yield lambda path: asyncio.ensure_future(ask(path))


def test_it_waits_for_its_turn_in_the_limit() -> None:
    async def scenario(script: Script) -> None:
        script.otherwise = OK
        script.tell_watches(OK)
        waited: list[Endpoint] = []
        async with ApiClient(script.url) as client, lent(client) as ask:
            client.pace.qps, client.pace.burst = 10, 1
            client.pace.observer = PaceObserver(waited=lambda endpoint, seconds: waited.append(endpoint))
            await asyncio.gather(*(ask(NODES) for _ in range(11)), ask(f"{NODES}?watch=true"))
        moments = [seen.at for seen in script.seen]
        assert moments[-1] - moments[0] >= 1.0
        assert waited == [Endpoint("list", "nodes")] * 11 + [Endpoint("watch", "nodes")]

    play(scenario)


def test_it_is_counted_whatever_becomes_of_it() -> None:
    async def scenario(script: Script) -> None:
        script.otherwise = OK
        calls: list[tuple[str, int | None]] = []
        answers: list[tuple[Endpoint, int | None]] = []

        def note(endpoint: Endpoint, path: str, error: ApiError | None) -> None:
            answers.append((endpoint, None if error is None else error.status))

        async with ApiClient(script.url) as client, lent(client) as ask:
            client.observe(
                lambda method, status: calls.append((method, status)),
                note,
            )
            script.tell(OK, Hang())
            script.tell_watches(failure(410, "Expired"))
            assert await ask(NODES) == 200
            assert await ask(f"{NODES}?watch=1") == 410
            with pytest.raises(TimeoutError):
                await ask(NODES)
        assert calls == [("GET", 200), ("GET", 410), ("GET", None)]
        assert answers == [(Endpoint("list", "nodes"), None), (Endpoint("watch", "nodes"), 410)]

    play(scenario)


def test_who_was_told_to_come_later_keeps_it_back_too() -> None:
    async def scenario(script: Script) -> None:
        script.tell(Answer(429, "busy", {"Retry-After": "7"}))
        script.otherwise = OK
        async with ApiClient(script.url) as client, lent(client) as ask:
            told = ask(NODES)
            await asyncio.sleep(1)
            other = ask(NODES)
            assert (await told, await other) == (200, 200), "Kopf does not hear of it"
        first, *later = script.seen
        assert len(later) == 2
        assert all(seen.at - first.at >= 7 for seen in later)

    play(scenario)


@pytest.mark.parametrize("said", ["3600", "Wed, 21 Oct 2037 07:28:00 GMT", ""], ids=["an hour", "a date", "nothing"])
@pytest.mark.parametrize("by_api", [True, False], ids=["the API", "a page"])
def test_no_time_to_come_later_is_longer_than_for_others(said: str, by_api: bool) -> None:
    """Kopf would wait for an hour, and end with a ValueError where it is a date."""

    async def scenario(script: Script) -> None:
        busy = failure(429, "TooManyRequests") if by_api else Answer(429, "busy")
        script.tell(Answer(429, busy.body, {"Retry-After": said} if said else {}), OK)
        async with ApiClient(script.url) as client, lent(client) as ask:
            assert await ask(NODES) == 200
        first, second = script.seen
        assert 1 <= second.at - first.at <= 1.1 * LATER_MAX

    play(scenario)


def test_a_token_that_is_rotated_is_used_from_the_next_request_on(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")

    async def scenario(script: Script) -> None:
        script.otherwise = OK
        async with ApiClient(script.url, token_file=file) as client, lent(client) as ask:
            await ask(NODES)
            (tmp_path / "next").write_text("newer")
            (tmp_path / "next").rename(file)
            await ask(NODES)
        assert [seen.headers["Authorization"] for seen in script.seen] == ["Bearer old", "Bearer newer"]

    play(scenario)


@pytest.mark.parametrize("refusal", [FORBIDDEN, failure(401, "Unauthorized")], ids=["forbidden", "unauthorized"])
def test_who_is_not_let_in_waits_ever_longer_and_goes_on_when_allowed(refusal: Answer) -> None:
    async def scenario(script: Script) -> None:
        allowed = False
        script.otherwise = lambda seen: OK if allowed else refusal
        told: list[int | None] = []
        async with ApiClient(script.url) as client, lent(client) as ask:
            client.observe(
                lambda *_: None, lambda endpoint, path, error: told.append(None if error is None else error.status)
            )
            asked = ask(NODES)
            await asyncio.sleep(100)
            assert not asked.done()
            tries = [seen.at for seen in script.seen]
            pauses = [b - a for a, b in itertools.pairwise(tries)]
            assert pauses[:4] == pytest.approx([1, 2, 4, 8], abs=0.1)
            assert pauses[4:] == pytest.approx([15] * len(pauses[4:]), abs=0.1)
            allowed = True
            assert await asked == 200
            assert set(told[:-1]) == {refusal.status}
            assert told[-1] is None

    play(scenario)


def test_a_token_that_has_to_be_renewed_is_no_news() -> None:
    class Renewing:
        number = 1

        async def authorization(self, *, refused: bool) -> Sign:
            self.number += refused
            return Sign(f"Bearer t{self.number}")

    async def scenario(script: Script) -> None:
        told: list[int | None] = []
        script.tell(failure(401, "Unauthorized"), OK)
        async with ApiClient(script.url, authenticator=Renewing()) as client, lent(client) as ask:
            client.observe(
                lambda *_: None, lambda endpoint, path, error: told.append(None if error is None else error.status)
            )
            assert await ask(NODES) == 200
        assert told == [None]

    play(scenario)


def test_others_go_on_meanwhile() -> None:
    async def scenario(script: Script) -> None:
        def answer(seen: Seen) -> Answer:
            return FORBIDDEN if seen.path == NODES else OK

        script.otherwise = answer
        async with ApiClient(script.url) as client, lent(client) as ask:
            refused = ask(NODES)
            await asyncio.sleep(10)
            assert await ask("/api/v1/pods") == 200
            refused.cancel()
            with pytest.raises(asyncio.CancelledError):
                await refused

    play(scenario)


def test_a_plugin_that_fails_for_a_while_is_waited_for() -> None:
    class Failing:
        calls = 0

        async def authorization(self, *, refused: bool) -> Sign:
            self.calls += 1
            if self.calls < 4:
                raise ApiError(401, "Unauthorized", "cannot sign in")
            return Sign("Bearer at-last")

    async def scenario(script: Script) -> None:
        script.otherwise = OK
        async with ApiClient(script.url, authenticator=Failing()) as client, lent(client) as ask:
            assert await ask(NODES) == 200
        assert [seen.headers["Authorization"] for seen in script.seen] == ["Bearer at-last"]

    play(scenario)
