"""When requests are sent: not before the API server wants them, not more than the limit, the most urgent first."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

import pytest

from dra_operator.api.kinds import CLAIMS, PODS
from dra_operator.api.meta import ObjectKey
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.cluster.lease import RENEW_DEADLINE, LeaderElection
from dra_operator.cluster.pace import LATER_MAX, Endpoint, Pace, Urgency, endpoint_of, urgency_of
from tests.unit.cluster.script import Answer, Script, Seen, Told, eventually, failure, play
from tests.virtual_loop import run_virtual

PATCH = Endpoint("patch", "pods/status")
LEASE = Endpoint("patch", "leases")
WATCH = Endpoint("watch", "resourceclaims")
EVENT = Endpoint("create", "events")


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    ("method", "path", "watch", "endpoint"),
    [
        ("GET", "/api/v1/pods", False, Endpoint("list", "pods")),
        ("GET", "/api/v1/pods", True, Endpoint("watch", "pods")),
        ("GET", "/api/v1/namespaces/ns/pods/a", False, Endpoint("get", "pods")),
        ("PATCH", "/api/v1/namespaces/ns/pods/a/status", False, Endpoint("patch", "pods/status")),
        ("GET", "/api/v1/namespaces/ns", False, Endpoint("get", "namespaces")),
        ("GET", "/api/v1/namespaces", False, Endpoint("list", "namespaces")),
        ("POST", "/apis/resource.k8s.io/v1/namespaces/ns/resourceclaims", False, Endpoint("create", "resourceclaims")),
        ("DELETE", "/apis/resource.k8s.io/v1/resourceslices/a", False, Endpoint("delete", "resourceslices")),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/ns/leases/a", False, Endpoint("update", "leases")),
        ("GET", "/apis/resource.k8s.io/v1", False, Endpoint("get", "/apis/resource.k8s.io/v1")),
        ("GET", "/version", False, Endpoint("get", "/version")),
    ],
)
def test_what_a_request_is_about(method: str, path: str, watch: bool, endpoint: Endpoint) -> None:
    assert endpoint_of(method, path, watch=watch) == endpoint


def test_who_goes_first() -> None:
    order = [LEASE, WATCH, PATCH, EVENT]
    assert [urgency_of(one) for one in order] == [Urgency.LEASE, Urgency.MIRROR, Urgency.OTHER, Urgency.EVENT]
    assert order == sorted([EVENT, PATCH, WATCH, LEASE], key=urgency_of)


# --- the limit -------------------------------------------------------------------------------------------------------


Sent = list[tuple[Endpoint, float]]


async def send(pace: Pace, endpoint: Endpoint, sent: Sent) -> None:
    await pace.wait(endpoint)
    sent.append((endpoint, now()))


def test_a_burst_goes_out_at_once_and_then_so_many_a_second() -> None:
    async def scenario() -> None:
        pace = Pace(qps=10, burst=5)
        sent: Sent = []
        await asyncio.gather(*(send(pace, PATCH, sent) for _ in range(35)))
        times = [at for _, at in sent]
        assert times[:5] == [times[0]] * 5
        assert times[5:] == pytest.approx([times[0] + 0.1 * (number + 1) for number in range(30)])
        assert pace.waiting == 0

    run_virtual(scenario())


def test_the_most_urgent_goes_first_and_within_that_who_came_first() -> None:
    async def scenario() -> None:
        pace = Pace(qps=10, burst=1)
        sent: Sent = []
        order = [PATCH, EVENT, PATCH, WATCH, LEASE, PATCH]
        await asyncio.gather(*(send(pace, endpoint, sent) for endpoint in order))
        assert [endpoint for endpoint, _ in sent] == [PATCH, LEASE, WATCH, PATCH, PATCH, EVENT]

    run_virtual(scenario())


def test_who_gives_up_costs_the_others_nothing() -> None:
    async def scenario() -> None:
        pace = Pace(qps=10, burst=1)
        sent: Sent = []
        tasks = [asyncio.create_task(send(pace, PATCH, sent)) for _ in range(12)]
        await asyncio.sleep(0.01)
        for task in tasks[1:11]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [at for _, at in sent] == pytest.approx([sent[0][1], sent[0][1] + 0.1])
        assert pace.waiting == 0

    run_virtual(scenario())


def test_a_token_that_is_given_to_who_gives_up_at_that_moment_is_not_lost() -> None:
    async def scenario() -> None:
        pace = Pace(qps=10, burst=1)
        sent: Sent = []
        await pace.wait(PATCH)
        tasks = [asyncio.create_task(send(pace, PATCH, sent)) for _ in range(2)]
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().call_later(0.05, tasks[0].cancel)  # due when the token is
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sent[-1][1] == pytest.approx(0.1 * len(sent), abs=0.001)

    run_virtual(scenario())


@pytest.mark.parametrize(("endpoint", "limits"), [(PATCH, True), (LEASE, True), (EVENT, False)])
def test_whether_the_limit_is_what_others_wait_for(endpoint: Endpoint, limits: bool) -> None:
    async def scenario() -> None:
        pace = Pace(qps=10, burst=1)
        await pace.wait(PATCH)
        assert pace.limits is False
        waits = asyncio.create_task(pace.wait(endpoint))
        await asyncio.sleep(0)
        seen: list[bool] = [pace.limits]
        await waits
        assert [*seen, pace.limits] == [limits, False]

    run_virtual(scenario())


def test_who_gives_up_leaves_the_line() -> None:
    """A busy limit serves Events last, and whoever records them gives up in the end."""

    async def scenario() -> None:
        pace = Pace(qps=1, burst=1)
        await pace.wait(PATCH)
        patience = asyncio.create_task(pace.wait(PATCH))
        impatient = [asyncio.create_task(pace.wait(EVENT)) for _ in range(100)]
        await asyncio.sleep(0.1)
        for task in impatient:
            task.cancel()
        await asyncio.gather(*impatient, return_exceptions=True)
        assert sum(map(len, pace._line.values())) == 1
        await patience

    run_virtual(scenario())


def test_what_is_closed_while_it_stands_in_line_costs_the_others_nothing() -> None:
    async def scenario() -> None:
        pace = Pace(qps=10, burst=1)
        await pace.wait(PATCH)
        closed = [asyncio.create_task(pace.wait(PATCH)) for _ in range(300)]
        await asyncio.sleep(0.01)
        pace.close(PATCH, 20.0)
        began = now()
        await pace.wait(EVENT)
        assert now() - began <= 0.1
        assert not any(task.done() for task in closed)
        await asyncio.gather(*closed)

    run_virtual(scenario())


# --- Retry-After -----------------------------------------------------------------------------------------------------

KEY = ObjectKey("ns", "a")
POD = {"metadata": {"namespace": "ns", "name": "a", "uid": "u", "resourceVersion": "1"}}
Say = Callable[[ApiClient], Coroutine[Any, Any, object]]
VERBS: dict[str, Say] = {
    "get": lambda client: client.get(PODS, KEY),
    "list": lambda client: client.list_raw(PODS),
    "create": lambda client: client.create(PODS, {"metadata": {"name": "a", "namespace": "ns"}}),
    "patch": lambda client: client.patch(PODS, KEY, {}, patch_type="merge", subresource="status"),
    "delete": lambda client: client.delete(PODS, KEY),
}


async def first_line(client: ApiClient) -> bytes:
    """Open a watch."""
    async with aclosing(client.watch(PODS, resource_version="1", timeout=60)) as lines:
        return await anext(lines)


async def persist(say: Say, client: ApiClient) -> None:
    """As a caller does that gives up on nothing."""
    while True:
        try:
            await say(client)
        except ApiError:
            await asyncio.sleep(0.05)
        else:
            return


def plain(status: int, retry_after: int) -> Answer:
    """What comes from before the API: no Status."""
    return Answer(status, b"Too many requests, please try again later.", {"Retry-After": str(retry_after)})


@pytest.mark.parametrize("verb", [*VERBS, "watch"])
@pytest.mark.parametrize("status", [429, 503])
def test_nothing_is_sent_to_where_the_server_asked_to_come_later(verb: str, status: int) -> None:
    """Whoever asks, and however often it is asked again."""
    say = VERBS.get(verb, first_line)

    async def scenario(script: Script) -> list[float]:
        script.tell(plain(status, 7))
        script.tell_watches(plain(status, 7))
        script.otherwise = Answer(200, POD)
        async with ApiClient(script.url) as client:
            tasks = [asyncio.create_task(persist(say, client))]
            await eventually(lambda: script.seen)
            await asyncio.sleep(1)  # its answer has come
            tasks += [asyncio.create_task(persist(say, client)) for _ in range(4)]
            if verb == "watch":
                for number in range(5):
                    (await script.watch(number + 1)).send("BOOKMARK", {})
            await asyncio.gather(*tasks)
            return [one.at for one in script.seen]

    times = play(scenario)
    assert len(times) == 6
    assert min(times[1:]) >= times[0] + 7


def test_other_verbs_and_other_resources_are_not_held_up() -> None:
    async def scenario(script: Script) -> None:
        def answer(seen: Seen) -> Answer:
            return plain(429, 20) if seen.method == "POST" else Answer(200, POD)

        script.otherwise = answer
        async with ApiClient(script.url) as client:
            refused = asyncio.create_task(VERBS["create"](client))
            await asyncio.sleep(1)
            await client.get(PODS, KEY)
            await client.delete(CLAIMS, KEY)
            assert now() < 2
            refused.cancel()

    play(scenario)


def without_reason(status: int, retry_after: int) -> Answer:
    """What the API server makes of a webhook that gives a code and a time, and no more."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": "denied"}
    return Answer(status, body | {"details": {"retryAfterSeconds": retry_after}}, {"Retry-After": str(retry_after)})


@pytest.mark.parametrize(
    ("told", "held_up"),
    [
        (failure(429, "TooManyRequests", retry_after=20), False),
        (without_reason(429, 20), False),
        (without_reason(503, 20), False),
        (plain(429, 20), True),
        (Answer(429, {"message": "API rate limit exceeded"}, {"Retry-After": "20"}), True),
    ],
)
def test_what_a_tenants_webhook_says_holds_up_no_other_tenant(told: Told, held_up: bool) -> None:
    """What the API itself refuses may be one tenant's affair; what comes from before it is everybody's."""

    async def scenario(script: Script) -> bool:
        script.tell(told)
        script.otherwise = Answer(200, POD)
        async with ApiClient(script.url) as client:
            refused = asyncio.create_task(VERBS["create"](client))
            await asyncio.sleep(1)
            other = asyncio.create_task(client.create(PODS, {"metadata": {"name": "b", "namespace": "other"}}))
            await asyncio.sleep(1)
            waits = not other.done()
            await asyncio.gather(refused, other)
            return waits

    assert play(scenario) is held_up


def test_a_request_that_could_not_be_sent_in_time_is_not_sent_and_says_when_it_may_be() -> None:
    async def scenario(script: Script) -> ApiError:
        script.otherwise = plain(429, 25)
        async with ApiClient(script.url, timeout=10) as client:
            with suppress(ApiError):
                await VERBS["patch"](client)
            with pytest.raises(ApiError) as caught:
                await VERBS["patch"](client)
            assert len(script.seen) == 1
            return caught.value

    error = play(scenario)
    assert error.status == 429
    assert error.retry_after == pytest.approx(25)


def test_what_may_have_taken_effect_is_not_said_to_come_later() -> None:
    """A 503 may come from a load balancer that has lost the answer; then nobody is asked any more."""

    async def scenario(script: Script) -> ApiError:
        script.tell(plain(503, 1))
        script.otherwise = plain(429, 25)
        async with ApiClient(script.url, timeout=10) as client:
            with pytest.raises(ApiError) as caught:
                await VERBS["patch"](client)
            assert len(script.seen) == 2
            return caught.value

    assert play(scenario).status == 503


def test_so_does_one_that_waits_already_when_the_time_is_made_longer() -> None:
    async def scenario(script: Script) -> ApiError:
        async with ApiClient(script.url, timeout=20) as client:
            client.pace.close(PATCH, 15)
            waits = asyncio.create_task(VERBS["patch"](client))
            await asyncio.sleep(10)
            client.pace.close(PATCH, 25)
            with pytest.raises(ApiError) as caught:
                await waits
            assert script.seen == []
            return caught.value

    assert play(scenario).retry_after == pytest.approx(15)


YEAR = 365 * 86400
FOREVER = {"a year": str(YEAR), "more than a float": "9" * 400}


@pytest.mark.parametrize("verb", [*VERBS, "watch"])
@pytest.mark.parametrize("told", [plain, without_reason])
@pytest.mark.parametrize("later", FOREVER.values(), ids=FOREVER)
def test_nobody_waits_for_a_year(verb: str, told: Callable[[int, int], Answer], later: str) -> None:
    say = VERBS.get(verb, first_line)
    refusal = told(503, YEAR)
    refusal.headers["Retry-After"] = later

    async def scenario(script: Script) -> None:
        script.tell(refusal)
        script.tell_watches(refusal)
        script.otherwise = Answer(200, POD)
        async with ApiClient(script.url) as client:
            task = asyncio.create_task(persist(say, client))
            if verb == "watch":
                (await script.watch(1)).send("BOOKMARK", {})
            await task
        assert len(script.seen) == 2
        assert now() < 1.2 * LATER_MAX

    play(scenario)


def test_a_watch_waits_no_longer_than_a_request_and_says_so() -> None:
    """However often it is closed anew."""

    async def scenario(script: Script) -> None:
        async with ApiClient(script.url, timeout=40) as client:

            async def close() -> None:
                while True:
                    client.pace.close(Endpoint("watch", "pods"), 20.0)
                    await asyncio.sleep(10)

            task = asyncio.create_task(close())
            await asyncio.sleep(0)
            with pytest.raises(ApiError) as caught:
                await first_line(client)
            task.cancel()
        assert caught.value.status == 429
        assert now() == pytest.approx(40, abs=1)
        assert script.seen == []

    play(scenario)


def test_those_who_waited_do_not_all_come_back_in_one_moment() -> None:
    async def scenario() -> None:
        pace = Pace(rng=random.Random(1))
        pace.close(PATCH, 10.0)
        sent: Sent = []
        await asyncio.gather(*(send(pace, PATCH, sent) for _ in range(100)))
        times = [at for _, at in sent]
        assert 10.0 <= min(times) < 10.2
        assert 10.8 < max(times) <= 11.0

    run_virtual(scenario())


def test_the_barrier_is_asked_after_the_wait() -> None:
    async def scenario(script: Script) -> None:
        script.tell(plain(429, 5))
        script.otherwise = Answer(200, POD)
        leads = True
        async with ApiClient(script.url) as client:
            writer = client.guarded(lambda: leads)
            task = asyncio.create_task(writer.delete(PODS, KEY))
            await asyncio.sleep(2)
            leads = False
            with pytest.raises(Exception, match="DELETE"):
                await task
            assert len(script.seen) == 1

    play(scenario)


# --- the Lease -------------------------------------------------------------------------------------------------------


class LeaseServer:
    """Keeps one Lease, and answers everything else with an empty object."""

    def __init__(self) -> None:
        self.lease: dict[str, object] | None = None
        self.renewals: list[float] = []
        self.others = 0

    def __call__(self, seen: Seen) -> Answer:
        if "/leases" not in seen.path:
            self.others += 1
            return Answer(200, POD)
        if seen.method == "GET":
            return failure(404, "NotFound") if self.lease is None else Answer(200, self.lease)
        self.renewals.append(seen.at)
        metadata = {"name": "l", "namespace": "n", "uid": "u", "resourceVersion": str(len(self.renewals))}
        self.lease = {**seen.body, "metadata": metadata}
        return Answer(200, self.lease)


def test_a_burst_against_the_limit_does_not_cost_the_lease() -> None:
    """A thousand writes wait, a hundred times as many as go out in a second."""

    async def scenario(script: Script) -> None:
        server = LeaseServer()
        script.otherwise = server
        async with ApiClient(script.url, timeout=1000.0) as client:
            client.pace.qps, client.pace.burst = 10, 10
            lease = LeaderElection(client, namespace="n", name="l", identity="me")
            lost: list[float] = []
            tasks: list[asyncio.Task[Any]] = [asyncio.create_task(lease.run(lambda: None, lambda: lost.append(now())))]
            tasks += [asyncio.create_task(VERBS["patch"](client)) for _ in range(1000)]
            await asyncio.sleep(60)
            assert lease.holds()
            assert lost == []
            assert max(b - a for a, b in zip(server.renewals, server.renewals[1:], strict=False)) < RENEW_DEADLINE / 2
            assert len(script.seen) <= 10 * 60 + 20
            assert server.others > 300
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    play(scenario)


@pytest.mark.parametrize("told", [plain, without_reason])
def test_a_page_that_asks_to_come_in_an_hour_does_not_cost_the_lease(told: Callable[[int, int], Answer]) -> None:
    """Once on every way of reading and writing it."""

    async def scenario(script: Script) -> None:
        server = LeaseServer()
        refusals = {"PATCH": 30, "GET": 2}  # the second GET is the one after that PATCH

        def answer(seen: Seen) -> Answer:
            refusals[seen.method] = refusals.get(seen.method, 0) - 1
            return told(503, 3600) if refusals[seen.method] == 0 else server(seen)

        script.otherwise = answer
        async with ApiClient(script.url) as client:
            lease = LeaderElection(client, namespace="n", name="l", identity="me")
            lost: list[float] = []
            task = asyncio.create_task(lease.run(lambda: None, lambda: lost.append(now())))
            await asyncio.sleep(120)
            assert lease.holds()
            assert lost == []
            assert max(refusals["GET"], refusals["PATCH"]) < 0
            assert max(b - a for a, b in zip(server.renewals, server.renewals[1:], strict=False)) < RENEW_DEADLINE / 2
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    play(scenario)
