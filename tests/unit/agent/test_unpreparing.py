"""When a prepared claim is watched; what becomes of its devices is tested on a real API server."""

from __future__ import annotations

import asyncio

from dra_operator.agent.allocated import AllocatedDevice
from dra_operator.agent.checkpoint import COMPLETED, PreparedClaim, PreparedDevice
from dra_operator.agent.taints import DeviceTaints
from dra_operator.agent.unpreparing import UnpreparingTaints
from dra_operator.api.meta import Uid
from tests.unit.cluster.apiserver import ApiServer, play

DEVICE = PreparedDevice(allocated=AllocatedDevice(requests=("gpu",), pool="node", device="gpu-0"), cdi_name="uid-gpu-0")
CLAIM = PreparedClaim(uid=Uid("uid"), namespace="default", name="one", state=COMPLETED, devices=(DEVICE,))


async def asked_after(api: ApiServer, seconds: float) -> list[str]:
    """What the API server is asked until then, by somebody who waits ten seconds before a watch begins."""
    prepared = {CLAIM.uid: CLAIM}
    changed = asyncio.Event()
    async with api.client() as client:
        taints = UnpreparingTaints(client, "driver", DeviceTaints(), lambda: prepared, changed, watch_after=10.0)
        running = asyncio.create_task(taints.run())
        await asyncio.sleep(seconds)
        prepared.clear()
        changed.set()
        await asyncio.sleep(60.0)
        running.cancel()
    return [one.query["fieldSelector"] for one in api.requests("GET")]


def test_a_claim_that_is_unprepared_soon_is_never_asked_about() -> None:
    assert play(lambda api: asked_after(api, 9.0)) == []


def test_a_claim_that_stays_prepared_is_watched_by_its_name() -> None:
    assert set(play(lambda api: asked_after(api, 11.0))) == {"metadata.name=one"}
