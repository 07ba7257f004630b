"""A cluster of one real node, and the few verbs that tests of its pods need."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dra_operator.api.kinds import PODS
from dra_operator.api.meta import ObjectKey
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.sandbox.controlplane import ControlPlane
from dra_operator.sandbox.processes import wait_until
from tests.kubelet.node import Node

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
EXAMPLE: Final = "driver.example.com"
GPU: Final = "gpu.dra-operator.io"
PATIENCE: Final = 90.0


def example(prefix: str) -> str:
    """The file whose name begins so."""
    (file,) = EXAMPLES.glob(f"{prefix}-*.yaml")
    return str(file)


@dataclass(frozen=True, slots=True)
class Cluster:
    plane: ControlPlane
    node: Node


class Scene:
    """Pods of a test, and the verbs for them."""

    def __init__(self, cluster: Cluster, client: ApiClient) -> None:
        self.cluster = cluster
        self.client = client

    def apply(self, *files: str) -> None:
        self.cluster.plane.kubectl("apply", *(f"--filename={file}" for file in files))

    def delete(self, *arguments: str) -> None:
        self.cluster.plane.kubectl("delete", "--wait=false", "--ignore-not-found", *arguments)

    async def phase(self, key: ObjectKey, phase: str) -> None:
        seen: list[object] = [None]

        async def there() -> bool:
            pod = await self.client.get(PODS, key)
            seen[0] = pod.status
            return pod.status.phase == phase

        try:
            await wait_until(f"pod {key} to be {phase}", there, PATIENCE)
        except TimeoutError as error:
            raise AssertionError(f"{error}; it is {seen[0]}; logs: {self.cluster.node.log}") from error

    async def gone(self, key: ObjectKey) -> None:
        async def there() -> bool:
            try:
                await self.client.get(PODS, key)
            except ApiError as error:
                return error.status == 404
            return False

        await wait_until(f"pod {key} to be gone", there, PATIENCE)

    async def unprepared(self, *drivers: str) -> None:
        """No claim of these drivers has a CDI spec any more."""

        async def none() -> bool:
            return not [name for driver in drivers for name in self.specs(driver)]

        await wait_until("all claims to be unprepared", none, PATIENCE)

    def specs(self, driver: str) -> list[str]:
        return sorted(path.name for path in self.cluster.node.cdi.glob(f"{driver}-*"))

    def run(self, key: ObjectKey, container: str, *command: str) -> str:
        """What a program in the container prints."""
        arguments = ("exec", f"--namespace={key.namespace}", key.name, f"--container={container}", "--", *command)
        return self.cluster.plane.kubectl(*arguments).stdout

    def env(self, key: ObjectKey, container: str) -> dict[str, str]:
        """What the container was told of its devices."""
        lines = self.run(key, container, "env").splitlines()
        pairs = (line.partition("=") for line in lines if line.startswith("DRA_DEVICE_"))
        return {name: value for name, _, value in pairs}

    async def container_id(self, key: ObjectKey) -> tuple[str, int]:
        """The first container of the pod, and how often it was restarted."""
        answer = await self.client.request("GET", f"/api/v1/namespaces/{key.namespace}/pods/{key.name}")
        status = json.loads(answer.body)["status"]["containerStatuses"][0]
        return status["containerID"], status["restartCount"]

    async def health(self, key: ObjectKey) -> list[tuple[str, str]]:
        """Health and message of each device, as the pod's status shows them."""
        answer = await self.client.request("GET", f"/api/v1/namespaces/{key.namespace}/pods/{key.name}")
        statuses: list[dict[str, Any]] = json.loads(answer.body)["status"]["containerStatuses"]
        return [
            (resource["health"], resource.get("message", ""))
            for status in statuses
            for claim in status.get("allocatedResourcesStatus", ())
            for resource in claim["resources"]
        ]

    async def says_health(self, key: ObjectKey, *wanted: tuple[str, str]) -> None:
        seen: list[object] = [None]

        async def there() -> bool:
            seen[0] = await self.health(key)
            return seen[0] == list(wanted)

        try:
            await wait_until("the health", there, PATIENCE)
        except TimeoutError as error:
            raise AssertionError(f"{error}; it is {seen[0]}") from error
