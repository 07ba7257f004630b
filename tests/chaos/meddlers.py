"""Users who edit and delete what others use: generated claims, templates, whole namespaces with pods that wait.

None of it takes devices from a pod that runs, and whoever could be served is served in the end. Their requests reach
the API server past the weather. Admins cordon nodes for a while.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from dra_operator.api.kinds import CLAIMS, NAMESPACES, NODES, PODS, TEMPLATES
from dra_operator.api.meta import ObjectKey
from dra_operator.cluster.http import ApiClient
from dra_operator.sandbox.processes import wait_until
from tests.chaos.cluster import Cluster
from tests.chaos.observer import Observer
from tests.chaos.troubles import LEASE_SECONDS
from tests.chaos.users import NAMESPACE, TEMPLATE_NAMES, insist, pod_body, template_body

_GUESTS: Final = "guests-"
_GUEST_PODS: Final = 3
_TEMPLATE: Final = "one"
_PAUSE: Final = (0.5, 3.0)
_WHILE: Final = (0.1, 3.0)
_GONE_SECONDS: Final = 60.0


class Meddlers:
    """See the module."""

    def __init__(self, client: ApiClient, observer: Observer, cluster: Cluster, rng: random.Random) -> None:
        self._client = client
        self._observer = observer
        self._nodes = [node.name for node in cluster.nodes]
        self._befell = cluster.befell
        self._rng = rng
        self._number = 0

    async def meddle(self, end: float) -> None:
        """Until shortly before the end: the garbage collector and others have their own time to recover."""
        loop = asyncio.get_running_loop()
        ways = (self._invite, self._edit, self._edit, self._delete_claim, self._replace_template, self._cordon)
        async with asyncio.TaskGroup() as visits:
            while loop.time() < end - LEASE_SECONDS:
                visits.create_task(_run(self._rng.choice(ways)))
                await asyncio.sleep(self._rng.uniform(*_PAUSE))

    async def leftovers(self) -> list[str]:
        """Waits for the namespaces that were deleted, and names those that can't go."""
        left: list[str] = []

        async def gone() -> bool:
            namespaces, _ = await self._client.list_objects(NAMESPACES)
            left[:] = [one.metadata.name for one in namespaces if one.metadata.name.startswith(_GUESTS)]
            return not left

        with suppress(TimeoutError):
            await wait_until("the guests' namespaces to go", gone, _GONE_SECONDS)
        return left

    # --- what they do ------------------------------------------------------------------------------------------------

    async def _invite(self) -> None:
        """A namespace with pods, deleted with all that is in it while some of them wait."""
        self._number += 1
        self._befell["namespace deleted with its pods"] += 1
        name = f"{_GUESTS}{self._number}"
        await insist(lambda: self._client.create(NAMESPACES, {"metadata": {"name": name}}), fine="AlreadyExists")
        template = template_body(_TEMPLATE)
        await insist(lambda: self._client.create(TEMPLATES, template, namespace=name), fine="AlreadyExists")
        for number in range(_GUEST_PODS):
            pod = pod_body(f"guest-{number}", {"resourceClaimTemplateName": _TEMPLATE})
            await insist(lambda pod=pod: self._client.create(PODS, pod, namespace=name), fine="AlreadyExists")  # type: ignore[misc]
        await asyncio.sleep(self._rng.uniform(*_WHILE))
        await insist(lambda: self._client.delete(NAMESPACES, ObjectKey("", name)), fine="NotFound")

    async def _edit(self) -> None:
        """An annotation here and there: what the operator has read is outdated, and its writes meet conflicts."""
        self._befell["pod and claim edited"] += 1
        body = {"metadata": {"annotations": {"example.com/edited": str(self._rng.random())}}}
        for kind, keys in ((PODS, list(self._observer.pods)), (CLAIMS, list(self._observer.claims))):
            if keys:
                key = self._rng.choice(keys)
                await insist(lambda: self._client.patch(kind, key, body, patch_type="merge"), fine="NotFound")  # noqa: B023

    async def _delete_claim(self) -> None:
        """One that was generated: a pod that waits needs another, one that runs keeps it until it ends."""
        generated = [key for key, claim in self._observer.claims.items() if claim.metadata.controller is not None]
        if generated:
            self._befell["generated claim deleted"] += 1
            key = self._rng.choice(generated)
            await insist(lambda: self._client.delete(CLAIMS, key), fine="NotFound")

    async def _replace_template(self) -> None:
        """Pods that come meanwhile wait for it."""
        self._befell["template deleted for a while"] += 1
        name = self._rng.choice(TEMPLATE_NAMES)
        await insist(lambda: self._client.delete(TEMPLATES, ObjectKey(NAMESPACE, name)), fine="NotFound")
        await asyncio.sleep(self._rng.uniform(*_WHILE))
        body = template_body(name)
        await insist(lambda: self._client.create(TEMPLATES, body, namespace=NAMESPACE), fine="AlreadyExists")

    async def _cordon(self) -> None:
        self._befell["Node cordoned for a while"] += 1
        node = self._rng.choice(self._nodes)
        await self._set_unschedulable(node, True)
        await asyncio.sleep(self._rng.uniform(*_WHILE))
        await self._set_unschedulable(node, None)

    async def _set_unschedulable(self, node: str, value: bool | None) -> None:
        body = {"spec": {"unschedulable": value}}
        key = ObjectKey("", node)
        await insist(lambda: self._client.patch(NODES, key, body, patch_type="merge"), fine="NotFound")


async def _run(way: Callable[[], Awaitable[None]]) -> None:
    await way()
