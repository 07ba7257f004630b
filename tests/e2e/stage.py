"""A cluster with simulated GPU nodes and the operator, and the few verbs that end-to-end tests need.

Objects are plain dicts as a user writes them; what the cluster says is read typed. Every wait names what it waits for
and ends with what was there instead.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from dra_operator.api.core import Pod
from dra_operator.api.kinds import CLAIMS, CLASSES, NAMESPACES, PODS, TEMPLATES
from dra_operator.api.meta import Condition, ObjectKey
from dra_operator.api.names import DEVICES_ALLOCATED, IGNORE_TERM_ANNOTATION, RUN_FOR_ANNOTATION
from dra_operator.api.resource import ResourceClaim
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.cluster.kubeconfig import connect
from dra_operator.sandbox.state import State

SECONDS = 30.0
CLASS = "gpu.e2e"


async def until(what: Callable[[], str], condition: Callable[[], Awaitable[bool]], seconds: float = SECONDS) -> None:
    """Wait for a condition; `what` says, when it is too late, what was waited for and what there is."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"after {seconds:g} s: {what()}")
        await asyncio.sleep(0.05)


@dataclass(slots=True)
class Stage:
    """One namespace of a running cluster."""

    client: ApiClient
    namespace: str
    state: State | None = None

    # --- what users write --------------------------------------------------------------------------------------------

    async def template(self, name: str = "gpu", **spec: Any) -> None:
        body = claim_object("ResourceClaimTemplate", name, {"spec": _spec(**spec)})
        await self.client.create(TEMPLATES, body, namespace=self.namespace)

    async def claim(self, name: str, **spec: Any) -> ResourceClaim:
        body = claim_object("ResourceClaim", name, _spec(**spec))
        return await self.client.create(CLAIMS, body, namespace=self.namespace)

    async def pod(
        self,
        name: str,
        *,
        templates: tuple[str, ...] = (),
        claims: tuple[str, ...] = (),
        run_for: float | None = None,
        ignore_term: bool = False,
        grace: int = 30,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        **spec: Any,
    ) -> Pod:
        annotations = dict(annotations or {})
        if run_for is not None:
            annotations[RUN_FOR_ANNOTATION] = str(run_for)
        if ignore_term:
            annotations[IGNORE_TERM_ANNOTATION] = "true"
        entries = [{"name": f"t{i}", "resourceClaimTemplateName": one} for i, one in enumerate(templates)]
        entries += [{"name": f"c{i}", "resourceClaimName": one} for i, one in enumerate(claims)]
        uses = [{"name": entry["name"]} for entry in entries]
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "annotations": annotations, "labels": labels or {}},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": grace,
                "resourceClaims": entries,
                "containers": [{"name": "main", "image": "none", "resources": {"claims": uses}}],
                **spec,
            },
        }
        return await self.client.create(PODS, body, namespace=self.namespace)

    async def delete_pod(self, name: str, *, force: bool = False) -> None:
        await self.client.delete(PODS, self.key(name), grace_seconds=0 if force else None)

    async def delete_claim(self, name: str) -> None:
        await self.client.delete(CLAIMS, self.key(name))

    # --- what the cluster says ---------------------------------------------------------------------------------------

    def key(self, name: str) -> ObjectKey:
        return ObjectKey(self.namespace, name)

    async def get_pod(self, name: str) -> Pod:
        return await self.client.get(PODS, self.key(name))

    async def find_claim(self, name: str) -> ResourceClaim | None:
        try:
            return await self.client.get(CLAIMS, self.key(name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def claims(self) -> list[ResourceClaim]:
        return (await self.client.list_objects(CLAIMS, namespace=self.namespace))[0]

    async def claims_of(self, pod: Pod) -> list[ResourceClaim]:
        """Those generated for the pod."""
        return [
            one
            for one in await self.claims()
            if one.metadata.controller is not None and one.metadata.controller.uid == pod.uid
        ]

    async def devices(self, claim: str) -> list[str]:
        found = await self.client.get(CLAIMS, self.key(claim))
        return devices_of(found)

    async def condition(self, name: str) -> Condition | None:
        return (await self.get_pod(name)).condition(DEVICES_ALLOCATED)

    # --- waiting -----------------------------------------------------------------------------------------------------

    async def running(self, *names: str, seconds: float = SECONDS) -> None:
        await asyncio.gather(*(self._phase(name, "Running", seconds) for name in names))

    async def bound(self, *names: str) -> None:
        """Wait until the pods have nodes."""
        waiting: list[str] = []

        async def there() -> bool:
            pods = [await self.get_pod(name) for name in names]
            waiting[:] = [pod.metadata.name for pod in pods if not pod.spec.node_name]
            return not waiting

        await until(lambda: f"pods {waiting} are not bound", there)

    async def succeeded(self, name: str, seconds: float = SECONDS) -> None:
        await self._phase(name, "Succeeded", seconds)

    async def _phase(self, name: str, phase: str, seconds: float) -> None:
        seen: list[Pod] = []

        async def there() -> bool:
            seen[:] = [await self.get_pod(name)]
            return seen[0].status.phase == phase

        def what() -> str:
            ours = seen[0].condition(DEVICES_ALLOCATED) if seen else None
            return f"pod {name} is not {phase} but {seen[0].status.phase if seen else 'unknown'}; it says {ours}"

        await until(what, there, seconds)

    async def waits(self, name: str, reason: str) -> str:
        """Wait until the pod says why it waits; returns the sentence."""
        seen: list[Condition | None] = [None]

        async def there() -> bool:
            seen[0] = await self.condition(name)
            return seen[0] is not None and seen[0].reason == reason

        await until(lambda: f"pod {name} does not say {reason} but {seen[0]}", there)
        assert seen[0] is not None
        return seen[0].message

    async def gone(self, claim: str) -> None:
        async def there() -> bool:
            return await self.find_claim(claim) is None

        await until(lambda: f"claim {claim} is still there", there)

    async def pod_gone(self, name: str) -> None:
        async def there() -> bool:
            try:
                await self.get_pod(name)
            except ApiError as error:
                return error.status == 404
            return False

        await until(lambda: f"pod {name} is still there", there)

    async def free(self, claim: str) -> None:
        """Wait until the claim is there and holds nothing."""
        seen: list[ResourceClaim | None] = [None]

        async def there() -> bool:
            seen[0] = await self.find_claim(claim)
            return seen[0] is not None and seen[0].status.allocation is None and not seen[0].status.reserved_for

        await until(lambda: f"claim {claim} is not free: {seen[0]}", there)

    async def clear(self) -> None:
        """End all pods, and wait until every claim is gone with them."""
        for pod in (await self.client.list_objects(PODS, namespace=self.namespace))[0]:
            try:
                await self.client.delete(PODS, pod.key, grace_seconds=0)
            except ApiError as refused:
                if refused.status != 404:  # it may have gone by itself
                    raise
        for claim in await self.claims():
            if claim.metadata.controller is None and claim.metadata.deletion_timestamp is None:
                await self.client.delete(CLAIMS, claim.key)

        async def empty() -> bool:
            return not await self.claims()

        await until(lambda: f"claims are left over in {self.namespace}", empty)
        await self.client.delete(NAMESPACES, ObjectKey("", self.namespace))

    async def events(self, about: Pod | ResourceClaim) -> list[dict[str, Any]]:
        answer = await self.client.request("GET", f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events")
        items: list[dict[str, Any]] = json.loads(answer.body)["items"]
        return [one for one in items if one.get("regarding", {}).get("uid") == about.uid]


def devices_of(claim: ResourceClaim) -> list[str]:
    """ "pool/device" of each result."""
    if claim.status.allocation is None:
        return []
    return [f"{one.pool}/{one.device}" for one in claim.status.allocation.devices.results or ()]


def claim_object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "resource.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _spec(
    *,
    count: int = 1,
    class_name: str = CLASS,
    selector: str = "",
    first_available: tuple[str, ...] = (),
    constraint: str = "",
    admin: bool = False,
) -> dict[str, Any]:
    """A claim of one request. `first_available`: a selector for each alternative, in order."""
    if first_available:
        subs = [
            {"name": f"a{i}", "deviceClassName": class_name, "selectors": [{"cel": {"expression": one}}]}
            for i, one in enumerate(first_available)
        ]
        request: dict[str, Any] = {"name": "gpu", "firstAvailable": subs}
    else:
        exactly: dict[str, Any] = {"deviceClassName": class_name, "allocationMode": "ExactCount", "count": count}
        if selector:
            exactly["selectors"] = [{"cel": {"expression": selector}}]
        if admin:
            exactly["adminAccess"] = True
        request = {"name": "gpu", "exactly": exactly}
    devices: dict[str, Any] = {"requests": [request]}
    if constraint:
        devices["constraints"] = [{"matchAttribute": constraint}]
    return {"devices": devices}


async def make_class(
    client: ApiClient, name: str = CLASS, expression: str = "device.driver == 'gpu.dra-operator.io'"
) -> None:
    """The DeviceClass that the tests ask for; safe to repeat."""
    body = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": name},
        "spec": {"selectors": [{"cel": {"expression": expression}}]},
    }
    try:
        await client.create(CLASSES, body)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise


@asynccontextmanager
async def stage(state: State) -> AsyncIterator[Stage]:
    """A namespace of one's own; at the end its pods are gone and every device is free again."""
    async with connect(state.kubeconfig) as client:
        here = await new_stage(client, state)
        try:
            yield here
        finally:
            await here.clear()


async def new_stage(client: ApiClient, state: State | None = None) -> Stage:
    """A new namespace, and the class that the tests ask for."""
    await make_class(client)
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    await client.create(NAMESPACES, {"metadata": {"name": name}})
    return Stage(client, name, state)
