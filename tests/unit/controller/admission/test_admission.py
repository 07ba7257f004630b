"""A replica is ready when it answers admission, since the webhook's Service sends it requests from then on; and what it
is asked keeps it from nothing else."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import kopf
import pytest

from dra_operator import handlers
from dra_operator.cluster.flavour import Api
from dra_operator.cluster.http import ApiClient
from dra_operator.controller.admission.admission import Admission
from dra_operator.controller.admission.certificates import Lifetimes, step
from dra_operator.controller.admission.server import AdmissionServer
from dra_operator.controller.admission.turns import Turns
from dra_operator.controller.settings import Settings


def admission(webhook_address: str) -> Admission:
    settings = Settings(webhook_address=webhook_address)
    return Admission(settings, ApiClient("http://127.0.0.1:1"), rng=random.Random(0))


async def test_a_replica_without_webhooks_waits_for_none() -> None:
    assert admission("").unready() is None


async def test_a_replica_that_has_no_certificate_yet_is_not_ready() -> None:
    assert admission("127.0.0.1:0").unready() == "admission webhooks are not served yet"


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_server_serves_from_its_first_certificate_until_it_is_stopped(stopped: bool) -> None:
    server = AdmissionServer("127.0.0.1:0", ("gate",))
    ring = step(None, 1_800_000_000.0, ("127.0.0.1",), Lifetimes(), trusted=False)
    try:
        await server.use(ring.serving)
        if stopped:
            await server.stop()

        assert server.is_serving is not stopped
    finally:
        await server.stop()


def claim_of(*expressions: str) -> Any:
    selectors = [{"cel": {"expression": one}} for one in expressions]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": "long", "namespace": "here"},
        "spec": {
            "devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu", "selectors": selectors}}]}
        },
    }


def ask(claim: Any, api: Api, reviews: Turns | None = None) -> asyncio.Task[None]:
    """What Kopf does when an API server asks."""
    asked = admission("")
    asked.reviews = reviews or asked.reviews
    memo = {"controller": SimpleNamespace(api=api, admission=asked)}
    handler: Any = handlers.selectors
    return asyncio.create_task(handler(body=kopf.Body(claim), memo=memo))


async def test_a_claim_of_long_expressions_does_not_hold_up_the_event_loop() -> None:
    def long(index: int) -> str:
        return " || ".join(f"device.attributes['a.b'].x{index} == {value}" for value in range(200))

    check = ask(claim_of(*(long(index) for index in range(4))), Api.NATIVE, Turns(3600.0))
    turns = 0
    while not check.done():
        await asyncio.sleep(0.001)
        turns += 1

    await check
    assert turns > 10


async def test_what_could_not_be_checked_in_time() -> None:
    """Where nobody else checks, it is refused with a cure, and for a reason that goes away; otherwise it passes."""
    good = claim_of("device.driver == 'a'")
    await ask(good, Api.NATIVE, Turns(0.0))

    with pytest.raises(kopf.AdmissionError, match="expressions could not be checked in time") as caught:
        await ask(good, Api.CRD, Turns(0.0))
    assert caught.value.code == 429
