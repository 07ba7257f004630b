"""The operator and the agents of two drivers that users' examples ask for, as processes beside the node."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dra_operator.api.kinds import SLICES
from dra_operator.sandbox.controlplane import ControlPlane
from dra_operator.sandbox.processes import Process, start, wait_until
from tests.e2e.operators import operator
from tests.kubelet.node import NAME, Node
from tests.kubelet.scene import EXAMPLE, GPU, Cluster

_PROFILES: Final = {EXAMPLE: "driver-example", GPU: "l4"}
_PATIENCE: Final = 60.0


@dataclass
class World:
    """The cluster, its one node, and the agents by driver."""

    plane: ControlPlane
    node: Node
    agents: dict[str, Process] = field(default_factory=dict)

    @property
    def control(self) -> Path:
        """What ails the simulated GPUs."""
        return self.node.folder / "control.yaml"

    async def start_agent(self, driver: str) -> None:
        """Returns when its slices are published and the kubelet knows it."""
        command = [
            *(sys.executable, "-m", "dra_operator.cli.main", "agent", f"--profile={_PROFILES[driver]}"),
            "--refresh=0.5",
            f"--control={self.control}",
            f"--node-name={NAME}",
            f"--kubeconfig={self.plane.agent_kubeconfig(NAME)}",
            f"--kubelet-dir={self.node.kubelet_folder}",
            f"--cdi-dir={self.node.cdi}",
        ]
        log = self.node.log / f"agent-{driver}.log"
        registrations = self.registrations(driver)
        self.agents[driver] = start(f"agent of {driver}", command, log)
        await self.registered(driver, registrations + 1)

    def registrations(self, driver: str) -> int:
        """How often the kubelet has taken the driver's plugin."""
        log = self.node.log / f"agent-{driver}.log"
        return log.read_text(errors="replace").count("registered with the kubelet") if log.exists() else 0

    async def registered(self, driver: str, times: int) -> None:
        async def there() -> bool:
            return self.registrations(driver) >= times and await self.published(driver)

        await wait_until(f"{driver} to be registered and published", there, _PATIENCE, [self.agents[driver]])

    async def published(self, driver: str) -> bool:
        async with self.plane.client() as client:
            return bool((await client.list_objects(SLICES, field_selector=f"spec.driver={driver}"))[0])


@asynccontextmanager
async def running_world(cluster: Cluster) -> AsyncIterator[World]:
    plane, node = cluster.plane, cluster.node
    async with operator(plane.kubeconfig("operator"), node.log / "operator.log"):
        world = World(plane, node)
        try:
            await asyncio.gather(*(world.start_agent(driver) for driver in _PROFILES))
            yield world
        finally:
            for agent in world.agents.values():
                await agent.stop()
