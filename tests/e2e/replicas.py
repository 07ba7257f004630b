"""Controllers that elect a leader: who leads, and what a kubelet's probes would get from each."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from dra_operator.api.names import LEASE_NAME, OPERATOR_NAMESPACE
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.sandbox.processes import Process, wait_until

LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR_NAMESPACE}/leases/{LEASE_NAME}"
_PATIENCE = 60.0


@dataclass(slots=True)
class Replica:
    """A controller (or an agent, which has neither port nor lease) and the pod in whose place it runs."""

    pod: str
    process: Process

    @property
    def said(self) -> str:
        return self.process.log.read_text(errors="replace")

    @property
    def port(self) -> int:
        """Where it serves health and metrics; 0: not yet."""
        found = re.search(r'"port": ?(\d+)', self.said)
        return int(found[1]) if found else 0

    async def probe(self, path: str) -> int:
        """The status of that probe; 0 for no answer."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}/{path}") as it:
                return it.status
        except aiohttp.ClientError:
            return 0

    async def metrics(self) -> Counter[str]:
        """The values of all metrics, summed over their labels."""
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}/metrics") as answer:
            text = await answer.text()
        found: Counter[str] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] += sample.value  # type: ignore[assignment]
        return found

    async def is_ready(self) -> bool:
        return bool(self.port) and await self.probe("readyz") == 200

    async def ended(self) -> int | None:
        """Wait until it has, without telling it once more; returns its exit code."""

        async def over() -> bool:
            return not self.process.alive

        await wait_until(f"{self.process.name} to end", over, _PATIENCE)
        return self.process.exit_code

    async def ready(self) -> None:
        """Wait until it is."""
        await wait_until(f"{self.process.name} to be ready", self.is_ready, _PATIENCE, [self.process])


async def lease_spec(client: ApiClient) -> dict[str, str]:
    """Of the operator's Lease; empty where there is none."""
    try:
        spec: dict[str, str] = json.loads((await client.request("GET", LEASE)).body)["spec"]
    except ApiError as error:
        if error.status == 404:
            return {}
        raise
    return spec


async def leader_of(client: ApiClient, replicas: Iterable[Replica]) -> Replica | None:
    """Which of these holds the Lease and lives."""
    holder = (await lease_spec(client)).get("holderIdentity", "")
    return next((one for one in replicas if f"_{one.process.pid}_" in holder and one.process.alive), None)


async def leader(client: ApiClient, replicas: Iterable[Replica]) -> Replica:
    """Wait until one of these leads, and has said so."""
    found: list[Replica] = []
    every = list(replicas)

    async def there() -> bool:
        one = await leader_of(client, every)
        found[:] = [one] if one is not None and '"leading"' in one.said else []
        return bool(found)

    await wait_until("a leader", there, _PATIENCE)
    return found[0]
