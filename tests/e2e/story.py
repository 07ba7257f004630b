"""The two halves of every story about bad input: a pod stands while others go on, and recovers by itself.

Also what such stories need: slices as a driver would publish them, and the label for admin access.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from dra_operator.api.core import Pod
from dra_operator.api.kinds import NAMESPACES, NODES, PODS, SLICES, TEMPLATES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import ADMIN_ACCESS_LABEL
from tests.e2e.stage import Stage, until

PLAIN = "plain"
"""The template of the pods that have nothing to do with the mistake."""


async def stands(here: Stage, pod: Pod, reason: str, *words: str, others: Stage | None = None) -> None:
    """The pod waits, its condition and Event name the object and the cure, and another pod runs meanwhile.

    `others`: where that pod lives, if it cannot be in the same namespace.
    """
    name = pod.metadata.name
    message = await here.waits(name, reason)
    condition = await here.condition(name)
    assert condition is not None
    assert condition.status == "False"
    assert [word for word in words if word not in message] == [], message
    [event] = await events_of(here, pod, reason)
    assert (event["type"], event["reportingController"]) == ("Warning", "dra-operator.io/controller")
    assert [word for word in words if word not in event["note"]] == []
    await others_go_on(others or here)
    waiting = await here.get_pod(name)
    assert waiting.spec.scheduling_gates
    assert not [claim for claim in await here.claims() if claim.reserved_for(waiting.uid)]


async def recovers(here: Stage, pod: Pod, *reasons: str, runs: bool = True) -> None:
    """The pod runs, and each of the reasons was told in exactly one Event.

    With devices of a driver that has no plugin on the node it is bound, and no kubelet starts it, as no real one would.
    """
    await (here.running(pod.metadata.name) if runs else here.bound(pod.metadata.name))
    condition = await here.condition(pod.metadata.name)
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "Allocated")
    for reason in reasons:
        assert len(await events_of(here, pod, reason)) == 1


async def events_of(here: Stage, pod: Pod, reason: str) -> list[dict[str, Any]]:
    """The pod's Events of that reason, as soon as there is one."""
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        found[:] = [event for event in await here.events(pod) if event["reason"] == reason]
        return bool(found)

    await until(lambda: f"no Event {reason} on pod {pod.metadata.name}", there)
    return found


async def others_go_on(here: Stage) -> None:
    """A pod created now gets its device and runs."""
    templates, _ = await here.client.list_objects(TEMPLATES, namespace=here.namespace)
    if PLAIN not in [template.metadata.name for template in templates]:
        await here.template(PLAIN)
    pods, _ = await here.client.list_objects(PODS, namespace=here.namespace)
    name = f"other-{len(pods)}"
    await here.pod(name, templates=(PLAIN,))
    await here.running(name)


class Publish:
    """Publishes slices as a driver on the first node would."""

    def __init__(self, here: Stage, node: str, stack: AsyncExitStack) -> None:
        self._here = here
        self._node = node
        self._stack = stack

    def key(self, index: int) -> ObjectKey:
        """The slice of that index."""
        return ObjectKey("", f"{self._here.namespace}-{index}")

    async def __call__(self, driver: str, index: int, *, of: int, device: dict[str, Any] | None = None) -> None:
        """Slice `index` of a pool of `of` slices, with one device."""
        body = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {"name": self.key(index).name},
            "spec": {
                "driver": driver,
                "pool": {"name": "pool", "generation": 1, "resourceSliceCount": of},
                "nodeName": self._node,
                "devices": [{**(device or {}), "name": f"gpu-{index}"}],
            },
        }
        slice_ = await self._here.client.create(SLICES, body)
        self._stack.push_async_callback(self._here.client.delete, SLICES, slice_.key)


@asynccontextmanager
async def published(here: Stage) -> AsyncIterator[Publish]:
    """What is published ends with the context."""
    nodes, _ = await here.client.list_objects(NODES)
    async with AsyncExitStack() as stack:
        yield Publish(here, min(node.metadata.name for node in nodes), stack)


async def label_admin(here: Stage, value: str | None) -> None:
    labels = {"metadata": {"labels": {ADMIN_ACCESS_LABEL: value}}}
    await here.client.patch(NAMESPACES, ObjectKey("", here.namespace), labels, patch_type="merge")
