"""What befalls the parts of the cluster, all kinds side by side: weather, kills, standstill, partitions, lost nodes.

All of it is over at `end`. What takes long to recover from by design (a lease that has to run out) does not happen in
the last seconds: the time to converge would measure the design.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Final

from dra_operator.cluster.http import ApiClient
from tests.chaos.cluster import Cluster
from tests.chaos.observer import Observer

_CALM, _STORM = (0.02, 4.0), (0.3, 6.0)
"""How likely a request meets a fault, and for how many seconds."""
_KILL_PAUSE: Final = (4.0, 12.0)
_HOLD_UP_PAUSE: Final = (3.0, 15.0)
_NODE_PAUSE: Final = (20.0, 60.0)
_BACK_AFTER: Final = (0.0, 2.0)
LEASE_SECONDS: Final = 16.0
"""What a leader that dies, stops or is cut off may cost: its lease has to run out before anyone can do anything."""
_PAST_THE_LEASE: Final = (11.0, 14.0)
_A_MOMENT: Final = (0.3, 4.0)
_PREPARE_SECONDS: Final = 2.0
_SERVERS: Final = ("kube-apiserver", "etcd")
_STOCK: Final = ("kube-controller-manager", "kube-scheduler")


@dataclass(frozen=True, slots=True)
class Troubles:
    """See the module."""

    cluster: Cluster
    client: ApiClient
    observer: Observer
    rng: random.Random

    async def change_weather(self, end: float) -> None:
        while (now := _now()) < end:
            for chance, seconds in (_CALM, _STORM):
                self.cluster.set_chance(chance)
                await asyncio.sleep(max(0.0, min(seconds, end - now)))

    async def kill(self, end: float) -> None:
        while await self._pause(_KILL_PAUSE, end):
            name = self._any_of(self._operators(end), self.cluster.agents, _SERVERS[:1], _SERVERS[1:], _STOCK)
            if name in self.cluster.agents:
                await self._until_one_is_bound(self.cluster.node_of(name))
            await self.cluster.kill(name, self.rng.uniform(*_BACK_AFTER))

    async def hold_up(self, end: float) -> None:
        """Programs that stand still or are cut off, and live."""
        while await self._pause(_HOLD_UP_PAUSE, end):
            operators = self._operators(end)
            name = self._any_of(operators, operators, self.cluster.agents, _SERVERS)
            longer = name in operators and self.rng.random() < 0.5
            seconds = min(self.rng.uniform(*(_PAST_THE_LEASE if longer else _A_MOMENT)), end - _now())
            if name in _SERVERS or self.rng.random() < 0.5:
                await self.cluster.freeze(name, seconds)
            else:
                await self.cluster.part(name, seconds)

    async def lose_nodes(self, end: float) -> None:
        while await self._pause(_NODE_PAUSE, end - LEASE_SECONDS):
            agent = self.rng.choice(self.cluster.agents)
            await self.cluster.lose_node(agent, self.client, self.rng.uniform(*_BACK_AFTER))

    # --- whom, and when ----------------------------------------------------------------------------------------------

    def _operators(self, end: float) -> list[str]:
        return self.cluster.operators if _now() < end - LEASE_SECONDS else []

    def _any_of(self, *groups: list[str] | tuple[str, ...]) -> str:
        return self.rng.choice(self.rng.choice([group for group in groups if group]))

    async def _pause(self, pause: tuple[float, float], end: float) -> bool:
        """Whether there is time for one more after it."""
        await asyncio.sleep(max(0.0, min(self.rng.uniform(*pause), end - _now())))
        return _now() < end

    async def _until_one_is_bound(self, node: str) -> None:
        """Wait for a pod that its agent has to prepare for, and a moment: kills come before, amid and after that."""
        before = self.observer.bound[node]
        deadline = _now() + _PREPARE_SECONDS
        while self.observer.bound[node] == before and _now() < deadline:
            await asyncio.sleep(0.005)
        await asyncio.sleep(self.rng.uniform(0.0, 0.1))


def _now() -> float:
    return asyncio.get_running_loop().time()
