"""Who leads: never two at once, nobody for no longer than needed, whatever hangs. In virtual time, over HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from dra_operator.cluster.http import ApiClient, Response
from dra_operator.cluster.lease import LEASE_DURATION, RENEW_DEADLINE, RETRY_PERIOD, LeaderElection
from tests.unit.cluster.apiserver import ApiServer, merged, play, status, until
from tests.virtual_loop import VirtualLoop

COLLECTION = "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
PATH = f"{COLLECTION}/op"
DEADLINE, DURATION, PERIOD = RENEW_DEADLINE, LEASE_DURATION, RETRY_PERIOD


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Replica:
    """One candidate, and what its callbacks were told."""

    name: str
    election: LeaderElection
    client: ApiClient
    task: asyncio.Task[None] | None = None
    calls: list[tuple[str, float]] = field(default_factory=list)

    def start(self) -> None:
        self.task = asyncio.ensure_future(
            self.election.run(
                lambda: self.calls.append(("acquired", now())), lambda: self.calls.append(("lost", now()))
            )
        )

    async def stop(self) -> None:
        """As the controller does: no more renewals, then release."""
        await self.kill()
        await self.election.release()

    async def kill(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def leads(self) -> bool:
        return self.election.holds()

    @property
    def words(self) -> list[str]:
        return [word for word, _ in self.calls]


@asynccontextmanager
async def replicas(server: ApiServer, *names: str) -> AsyncIterator[list[Replica]]:
    made = []
    for name in names:
        client = server.client()
        made.append(Replica(name, LeaderElection(client, namespace="ns", name="op", identity=name), client))
    try:
        yield made
    finally:
        for one in made:
            if one.task is not None:
                one.task.cancel()
            await one.client.close()


def holder(server: ApiServer) -> str:
    return str(server.objects[PATH]["spec"]["holderIdentity"])


class Outage:
    """From `begin` on every request hangs, as behind a broken network."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    def begin(self) -> None:
        self._server.faults.append(self._hang)

    def end(self) -> None:
        self._server.faults.remove(self._hang)

    async def _hang(self, request: web.Request) -> None:
        await asyncio.sleep(1_000_000)


def test_the_first_creates_the_lease_and_leads() -> None:
    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a") as [a]:
            assert not a.leads()
            a.start()
            await until(lambda: a.leads())
            spec = server.objects[PATH]["spec"]
            assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == (
                "a",
                DURATION,
                0,
            )
            assert spec["acquireTime"] == spec["renewTime"]
            assert a.words == ["acquired"]

    play(scenario)


def test_a_leader_stays_and_others_stay_out() -> None:
    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a", "b") as [a, b]:
            a.start()
            await until(lambda: a.leads())
            b.start()
            for _ in range(1_200):
                await asyncio.sleep(0.5)
                assert a.leads()
                assert not b.leads()
            assert (a.words, b.words) == (["acquired"], [])
            assert server.objects[PATH]["spec"]["leaseTransitions"] == 0

    play(scenario)


def test_a_renewal_is_one_request() -> None:
    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a") as [a]:
            a.start()
            await until(lambda: a.leads())
            asked = len(server.asked)
            await asyncio.sleep(60 * PERIOD)
            since = server.asked[asked:]
            assert {one.method for one in since} == {"PATCH"}
            assert 55 <= len(since) <= 60
            assert all(one.body["metadata"]["resourceVersion"] for one in since), "on no condition but what we wrote"

    play(scenario)


def test_a_renewal_whose_answer_is_lost_is_read_again_and_costs_nothing() -> None:
    lost = 0

    async def scenario(server: ApiServer) -> None:
        async def answer_nothing(request: web.Request) -> web.Response | None:
            nonlocal lost
            if request.method != "PATCH" or lost:
                return None
            lost += 1
            server.put(PATH, merged(server.objects[PATH], await request.json()))
            return status(500, "InternalError")

        async with replicas(server, "a") as [a]:
            a.start()
            await until(lambda: a.leads())
            server.faults.append(answer_nothing)
            await until(lambda: lost)
            asked = len(server.asked)
            await asyncio.sleep(3 * PERIOD)
            assert [one.method for one in server.asked[asked : asked + 2]] == ["GET", "PATCH"]
            assert a.words == ["acquired"]

    play(scenario)


def test_renewing_keeps_what_others_wrote_on_the_lease() -> None:
    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a") as [a]:
            a.start()
            await until(lambda: a.leads())
            lease = server.objects[PATH]
            labelled = {**lease, "metadata": {**lease["metadata"], "labels": {"team": "x"}}}
            labelled["spec"]["preferredHolder"] = "b"
            before = server.put(PATH, labelled)["metadata"]["resourceVersion"]
            await until(lambda: server.objects[PATH]["metadata"]["resourceVersion"] != before)
            assert server.objects[PATH]["metadata"]["labels"] == {"team": "x"}
            assert server.objects[PATH]["spec"]["preferredHolder"] == "b"

    play(scenario)


def test_the_barrier_falls_at_the_deadline_though_everything_hangs() -> None:
    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a") as [a]:
            a.start()
            await until(lambda: a.leads())
            renewals = len(server.requests("PATCH"))
            await until(lambda: len(server.requests("PATCH")) > renewals)
            renewed = server.requests("PATCH")[-1].at
            await asyncio.sleep(0.5)
            Outage(server).begin()
            await until(lambda: not a.leads())
            assert now() == pytest.approx(renewed + DEADLINE, abs=0.05)
            assert a.words == ["acquired", "lost"]
            assert a.calls[-1][1] == pytest.approx(renewed + DEADLINE, abs=0.05)

    play(scenario)


def test_the_deadline_counts_from_the_start_of_a_renewal_and_not_from_its_answer() -> None:
    async def slow(request: web.Request) -> None:
        await asyncio.sleep(1.2)

    async def scenario(server: ApiServer) -> None:
        server.faults.append(slow)
        async with replicas(server, "a") as [a]:
            begun = now()
            a.start()
            await until(lambda: a.leads())
            assert now() >= begun + 2.4
            Outage(server).begin()
            await until(lambda: not a.leads())
            assert now() == pytest.approx(begun + DEADLINE, abs=0.05)

    play(scenario)


def test_the_barrier_needs_no_task() -> None:
    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a") as [a]:
            a.start()
            await until(lambda: a.leads())
            await a.kill()
            assert a.leads(), "writes that are on their way end under the lease"
            await asyncio.sleep(DEADLINE)
            assert not a.leads()
            assert a.words == ["acquired"]

    play(scenario)


def test_one_attempt_that_hangs_does_not_cost_the_lease() -> None:
    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a") as [a]:
            a.start()
            await until(lambda: a.leads())
            outage = Outage(server)
            outage.begin()
            asked = len(server.asked)
            await until(lambda: len(server.asked) > asked)
            outage.end()
            await asyncio.sleep(30)
            assert a.words == ["acquired"]

    play(scenario)


def test_a_lapse_is_told_even_if_the_lease_is_still_ours_afterwards() -> None:
    """What was turned away at the barrier is looked at again only when the lease is acquired."""

    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a") as [a]:
            a.start()
            await until(lambda: a.leads())
            outage = Outage(server)
            outage.begin()
            await until(lambda: not a.leads())
            outage.end()
            await until(lambda: a.leads())
            assert holder(server) == "a"
            assert a.words == ["acquired", "lost", "acquired"]

    play(scenario)


def test_a_lapse_is_told_even_if_a_frozen_process_renews_before_its_timers_run() -> None:
    class Frozen(ApiClient):
        frozen_after_write = 0.0

        async def request(self, method: str, *args: Any, **named: Any) -> Response:
            answer = await super().request(method, *args, **named)
            if method == "PATCH" and self.frozen_after_write:
                loop = asyncio.get_running_loop()
                assert isinstance(loop, VirtualLoop)
                loop.now += self.frozen_after_write
                self.frozen_after_write = 0.0
            return answer

    async def scenario(server: ApiServer) -> None:
        async with Frozen(server.url) as client:
            a = Replica("a", LeaderElection(client, namespace="ns", name="op", identity="a"), client)
            a.start()
            await until(a.leads)
            client.frozen_after_write = DEADLINE - PERIOD / 2
            await until(lambda: "lost" in a.words)
            assert a.words == ["acquired", "lost", "acquired"]
            assert a.leads()
            await a.kill()

    play(scenario)


def test_another_takes_over_from_a_dead_leader_once_its_lease_has_run_out() -> None:
    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a", "b") as [a, b]:
            a.start()
            await until(lambda: a.leads())
            b.start()
            await asyncio.sleep(30)
            await a.kill()
            last = server.requests("PATCH")[-1].at
            await until(lambda: b.leads())
            assert last + DURATION <= now() <= last + DURATION + 2 * PERIOD + 0.1
            assert server.objects[PATH]["spec"]["leaseTransitions"] == 1
            assert not a.leads()

    play(scenario)


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_leader_that_dies_at_any_moment_is_replaced_within_a_quarter_of_a_minute(seed: int) -> None:
    rng = random.Random(seed)

    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a", "b", "c") as [a, b, c]:
            a.start()
            await until(lambda: a.leads())
            for follower in (b, c):
                await asyncio.sleep(rng.uniform(0, PERIOD))
                follower.start()
            await asyncio.sleep(30 + rng.uniform(0, PERIOD))
            await a.kill()
            killed = now()
            await until(lambda: b.leads() or c.leads())
            assert now() - killed < 15

    play(scenario, seed=seed)


@pytest.mark.parametrize("renewed", ["1970-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
def test_times_in_anothers_lease_do_not_matter(renewed: str) -> None:
    async def scenario(server: ApiServer) -> None:
        spec = {"holderIdentity": "x", "leaseDurationSeconds": 7, "renewTime": renewed, "acquireTime": renewed}
        server.put(PATH, {"metadata": {"name": "op", "namespace": "ns"}, "spec": spec})
        async with replicas(server, "a") as [a]:
            a.start()
            await until(lambda: a.leads())
            assert 7 <= now() <= 7 + PERIOD + 0.1

    play(scenario)


def test_a_slow_read_does_not_make_anothers_lease_look_older() -> None:
    async def slow_get(request: web.Request) -> None:
        if request.method == "GET":
            await asyncio.sleep(2.0)

    async def scenario(server: ApiServer) -> None:
        server.faults.append(slow_get)
        spec = {"holderIdentity": "x", "leaseDurationSeconds": int(DURATION)}
        server.put(PATH, {"metadata": {"name": "op", "namespace": "ns"}, "spec": spec})
        async with replicas(server, "a") as [a]:
            a.start()
            await asyncio.sleep(1.5)
            renewed = server.put(PATH, server.objects[PATH])  # just before it is read
            written = now()
            await until(lambda: server.objects[PATH] is not renewed)
            assert now() - written >= DURATION

    play(scenario)


def test_a_released_lease_is_taken_over_at_once() -> None:
    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a", "b") as [a, b]:
            a.start()
            await until(lambda: a.leads())
            b.start()
            await asyncio.sleep(20)
            await a.stop()
            assert not a.leads()
            assert holder(server) == ""
            stopped = now()
            await until(lambda: b.leads())
            assert now() <= stopped + PERIOD + 0.1
            assert holder(server) == "b"

    play(scenario)


def test_release_wins_over_a_renewal_that_was_cut_off_and_took_effect() -> None:
    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a") as [a]:
            a.start()
            await until(lambda: a.leads())
            once = True

            async def renewal_arrives_late(request: web.Request) -> None:
                nonlocal once
                if request.method == "PATCH" and once:
                    once = False
                    server.put(PATH, server.objects[PATH])

            await a.kill()
            server.faults.append(renewal_arrives_late)
            await a.election.release()
            assert holder(server) == ""

    play(scenario)


@pytest.mark.parametrize("taken", [True, False], ids=["anothers", "never tried"])
def test_release_leaves_alone_what_is_not_ours(taken: bool) -> None:
    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a") as [a]:
            if taken:
                a.start()
                await until(lambda: a.leads())
                await a.kill()
            spec = {"holderIdentity": "x", "leaseDurationSeconds": 15}
            server.put(PATH, {"metadata": {"name": "op", "namespace": "ns"}, "spec": spec})
            asked = len(server.asked)
            await a.election.release()
            assert holder(server) == "x"
            assert taken or len(server.asked) == asked

    play(scenario)


def test_release_does_not_hang_on_a_broken_network() -> None:
    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a") as [a]:
            a.start()
            await until(lambda: a.leads())
            Outage(server).begin()
            stopping = now()
            await a.stop()
            assert now() - stopping < DEADLINE / 2
            assert not a.leads()

    play(scenario)


def test_of_two_that_create_or_take_over_at_once_one_leads() -> None:
    async def slow_write(request: web.Request) -> None:
        if request.method != "GET":
            await asyncio.sleep(0.2)  # both have read before either writes

    async def scenario(server: ApiServer) -> None:
        server.faults.append(slow_write)
        async with replicas(server, "a", "b") as both:
            for one in both:
                one.start()
            await until(lambda: any(one.leads() for one in both))
            await asyncio.sleep(5)
            assert [one.leads() for one in both].count(True) == 1
            for one in both:
                await one.kill()

        lapsed = {"holderIdentity": "", "leaseDurationSeconds": 1}
        server.put(PATH, {"metadata": {"name": "op", "namespace": "ns"}, "spec": lapsed})
        async with replicas(server, "c", "d") as both:
            for one in both:
                one.start()
            await until(lambda: any(one.leads() for one in both))
            await asyncio.sleep(5)
            assert [one.leads() for one in both].count(True) == 1

    play(scenario)


def test_a_leader_whose_lease_is_taken_stops_when_it_sees_that() -> None:
    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a") as [a]:
            a.start()
            await until(lambda: a.leads())
            spec = {"holderIdentity": "x", "leaseDurationSeconds": 15}
            server.put(PATH, {"metadata": {"name": "op", "namespace": "ns"}, "spec": spec})
            await until(lambda: not a.leads(), within=PERIOD + 0.1)
            assert a.words == ["acquired", "lost"]
            assert holder(server) == "x"

    play(scenario)


def test_a_deleted_lease_is_made_again() -> None:
    async def scenario(server: ApiServer) -> None:
        async with replicas(server, "a") as [a]:
            a.start()
            await until(lambda: a.leads())
            del server.objects[PATH]
            await until(lambda: PATH in server.objects, within=PERIOD + 0.1)
            assert a.words == ["acquired"]

    play(scenario)


ANSWERS: dict[str, Any] = {
    "forbidden": lambda: status(403, "Forbidden"),
    "server error": lambda: status(500, "InternalError"),
    "turned away": lambda: status(429, "TooManyRequests", retry_after=1),
    "garbage": lambda: web.Response(body=b"<html>", content_type="text/html"),
    "no lease": lambda: web.json_response({}),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_no_answer_of_the_server_ends_the_election(kind: str) -> None:
    async def scenario(server: ApiServer) -> None:
        async def broken(request: web.Request) -> web.Response:
            answer: web.Response = ANSWERS[kind]()
            return answer

        server.faults.append(broken)
        async with replicas(server, "a") as [a]:
            a.start()
            await asyncio.sleep(60)
            assert not a.leads()
            assert not server.requests("PATCH"), "nothing is known that a write could stand on"
            server.faults.clear()
            await until(lambda: a.leads())

    play(scenario)


@pytest.mark.parametrize(("deadline", "period"), [(15.0, 2.0), (2.0, 2.0)])
def test_times_that_do_not_fit_together_are_refused(deadline: float, period: float) -> None:
    with pytest.raises(ValueError, match="retry_period < renew_deadline < lease_duration"):
        LeaderElection(
            ApiClient("http://127.0.0.1:1"),
            namespace="ns",
            name="op",
            identity="a",
            renew_deadline=deadline,
            retry_period=period,
        )


@pytest.mark.parametrize("seed", range(1, 13))
def test_never_two_leaders_under_random_faults(seed: int) -> None:
    """Slow, hanging, refusing, and killed: at most one holds at any time, and in the end somebody does."""
    rng = random.Random(seed)

    async def fault(request: web.Request) -> web.Response | None:
        match rng.randrange(12):
            case 0:
                await asyncio.sleep(1_000_000)
            case 1 | 2:
                await asyncio.sleep(rng.uniform(0, 6))
            case 3:
                return status(500, "InternalError")
            case _:
                pass
        return None

    async def scenario(server: ApiServer) -> None:
        server.faults.append(fault)
        async with replicas(server, "a", "b", "c") as all_:
            for one in all_:
                one.start()
            for step in range(6_000):
                await asyncio.sleep(0.1)
                assert [one.leads() for one in all_].count(True) <= 1
                if step % 900 == 899:
                    victim = rng.choice(all_)
                    await (victim.stop() if rng.random() < 0.5 else victim.kill())
                    victim.start()
            server.faults.clear()
            await until(lambda: any(one.leads() for one in all_))
            assert sum(len(one.calls) for one in all_) > 1

    play(scenario, seed=seed)
