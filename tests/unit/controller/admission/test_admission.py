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


async def test_a_claim_of_long_expressions_does_not_hold_up_the_event_loop() -> None:
    def long(index: int) -> str:
        return " || ".join(f"device.attributes['a.b'].x{index} == {value}" for value in range(200))

    selectors = [{"cel": {"expression": long(index)}} for index in range(4)]
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu", "selectors": selectors}}
    claim: Any = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": "long", "namespace": "here"},
        "spec": {"devices": {"requests": [request]}},
    }
    memo = {"controller": SimpleNamespace(api=Api.NATIVE, admission=admission(""))}

    selectors_handler: Any = handlers.selectors
    check = asyncio.create_task(selectors_handler(body=kopf.Body(claim), memo=memo))
    turns = 0
    while not check.done():
        await asyncio.sleep(0.001)
        turns += 1

    await check
    assert turns > 10
