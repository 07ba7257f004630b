"""The parts of the cluster that faults happen to, each a process that can be killed and comes back.

Control plane, two replicas of the operator that share a lease, an agent on every node. Operators and agents reach the
API server through the weather only. The nodes' kubelets are stand-ins in this process, which nothing happens to; a Node
that is deleted is registered again by its kubelet.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from dra_operator.agent.registration import Sockets
from dra_operator.api.kinds import NODES
from dra_operator.api.meta import ObjectKey
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.cluster.kubeconfig import find_credentials
from dra_operator.sandbox.controlplane import ControlPlane, Options
from dra_operator.sandbox.inventory import NodeGroup, SimulatedNode, expand
from dra_operator.sandbox.nodes import Nodes
from dra_operator.sandbox.plugins import PluginRuntime
from dra_operator.sandbox.processes import Process, ProcessDiedError, start, tail_of, wait_until
from tests.chaos.users import insist
from tests.chaos.weather import Fault, Weather
from tests.controlplane import running_control_plane

_COMMAND: Final = (sys.executable, "-m", "dra_operator.cli.main")
_GROUPS: Final = (
    NodeGroup(name="l4", profile="l4", count=3, gpus=6),
    NodeGroup(name="mig", profile="a100-sxm-80gb-mig", gpus=2),
)
_REPLICAS: Final = 2
_AUDIT: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": [
        {
            "level": "Request",
            "verbs": ["create", "update", "patch", "delete", "deletecollection"],
            "resources": [
                {"group": "", "resources": ["pods", "pods/status", "pods/binding"]},
                {"group": "resource.k8s.io", "resources": ["resourceclaims", "resourceclaims/status"]},
            ],
        },
        {"level": "None"},
    ],
}
"""Who wrote what, for who has to find out why."""
_PLUGIN_SECONDS: Final = 60.0
_AGAIN: Final = 0.5


@dataclass(slots=True)
class Cluster:
    """See the module. `befell` counts what was done to its parts."""

    plane: ControlPlane
    folder: Path
    weather: dict[str, Weather]
    nodes: tuple[SimulatedNode, ...]
    kubelets: Nodes
    commands: dict[str, list[str]]
    processes: dict[str, Process] = field(default_factory=dict)
    befell: Counter[str] = field(default_factory=Counter)
    _down: set[str] = field(default_factory=set)
    _changing: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    @property
    def operators(self) -> list[str]:
        return [name for name in self.commands if name.startswith("operator")]

    @property
    def agents(self) -> list[str]:
        return [name for name in self.commands if name.startswith("agent")]

    def node_of(self, agent: str) -> str:
        return self.nodes[self.agents.index(agent)].name

    def set_chance(self, chance: float) -> None:
        for one in self.weather.values():
            one.chance = chance

    async def kill(self, name: str, pause: float) -> None:
        """With SIGKILL. It is back after the pause; etcd and API server are waited for until they serve.

        On a machine that has no time for it the API server takes long to say that it is ready. It is used all the same.
        """
        self.befell[f"kill -9 of {_kind(name)}"] += 1
        if name in self.commands:
            async with self._away(name):
                await asyncio.sleep(pause)
        else:
            async with self._changing[name]:
                self.plane.kill(name)
                await asyncio.sleep(pause)
                await self._start_again(name)

    async def _start_again(self, name: str) -> None:
        try:
            await self.plane.start_again(name)
        except TimeoutError:
            self.befell["not ready long after a kill"] += 1
        except ProcessDiedError:  # another, which did not like it; it is started again by whoever sees that
            self.befell["a program ended while another was started"] += 1

    async def freeze(self, name: str, seconds: float) -> None:
        """Not a step for so long, and no word of it to anyone: a process that is suspended, a disk that hangs."""
        self.befell[f"SIGSTOP of {_kind(name)}"] += 1
        process = (self.processes if name in self.commands else self.plane.processes)[name]
        _signal(process, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            _signal(process, signal.SIGCONT)

    async def part(self, name: str, seconds: float) -> None:
        """A program and the API server do not reach each other for so long."""
        self.befell[f"{_kind(name)} cut off"] += 1
        self.weather[name].part()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.weather[name].heal()

    async def lose_node(self, agent: str, client: ApiClient, pause: float) -> None:
        """Its Node is deleted, its agent with it. The kubelet makes another; the agent's token is bound to that one."""
        node = self.node_of(agent)
        self.befell["Node deleted"] += 1
        async with self._away(agent):
            await insist(lambda: client.delete(NODES, ObjectKey("", node)), fine="NotFound")
            await asyncio.sleep(pause)
            while not await self._come_back(agent, node):
                await asyncio.sleep(_AGAIN)

    async def _come_back(self, agent: str, node: str) -> bool:
        """Whether there is a Node again, and a token for its agent."""
        try:
            await self.kubelets.register()
            token = await asyncio.to_thread(self.plane.agent_kubeconfig, node)
        except* (ApiError, NoAnswer, subprocess.CalledProcessError):  # the API server is away
            token = None
        if token is None:
            return False
        self.weather[agent].target = find_credentials(token)
        self.weather[agent].write_kubeconfig(self.folder / f"{agent}.kubeconfig")
        return True

    @asynccontextmanager
    async def _away(self, name: str) -> AsyncIterator[None]:
        """It ends at once, and is started again at the end of the block."""
        async with self._changing[name]:
            self._down.add(name)
            self.processes[name].kill()
            try:
                yield
            finally:
                self._down.discard(name)
            self.start(name)

    def start(self, name: str) -> None:
        self.processes[name] = start(name, self.commands[name], self.folder / "log" / f"{name}.log")

    async def restart_those_that_ended(self) -> list[str]:
        """As a Deployment, a DaemonSet and a supervisor do it. Returns the name and the last words of each."""
        ended = []
        for name, process in self.processes.items():
            if not process.alive and name not in self._down:
                ended.append(f"{name}: {_last_words(process.log)}")
                self.start(name)
        for name, process in list(self.plane.processes.items()):
            if not process.alive and not self._changing[name].locked():
                last = tail_of(process.log).rpartition("\n")[2]
                ended.append(f"{name}: {last}")
                async with self._changing[name]:
                    await self._start_again(name)
        return ended

    def cdi_specs(self) -> int:
        """Claims that are prepared, by what lies on the nodes' disks."""
        return sum(1 for number in range(len(self.nodes)) for _ in (self.folder / str(number) / "cdi").glob("*.json"))


@asynccontextmanager
async def running_cluster(
    folder: Path, rng: random.Random, faults: Counter[Fault], *, stock: bool
) -> AsyncIterator[tuple[Cluster, ApiClient]]:
    """All of it, and a client that the weather does not touch."""
    log = folder / "log"
    log.mkdir()
    policy = folder / "audit.json"
    policy.write_text(json.dumps(_AUDIT))
    options = Options(
        resourceclaim_controller=stock,
        api_server_flags=(
            *("--storage-media-type=application/json", "--etcd-compaction-interval=0"),
            *(f"--audit-policy-file={policy}", f"--audit-log-path={log / 'audit.log'}"),
        ),
    )
    nodes = tuple(expand(list(_GROUPS)))
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(running_control_plane(options))
        stack.callback(shutil.copytree, plane.logs, log, dirs_exist_ok=True)
        client = await stack.enter_async_context(plane.client())
        runtime = await stack.enter_async_context(
            PluginRuntime(
                {
                    node.name: (node.driver, partial(_plugin, folder / str(n), node.driver))
                    for n, node in enumerate(nodes)
                }
            )
        )
        kubelets = Nodes(client, nodes, sandbox="chaos", runtime=runtime, publishes=False)
        await kubelets.register()
        claims = "adopt" if stock else "generate"
        cluster = await _with_programs(stack, plane, kubelets, nodes, folder, rng, faults, claims)
        background = asyncio.create_task(kubelets.run())
        try:
            yield cluster, client
        finally:
            background.cancel()
            await asyncio.gather(*(process.stop() for process in cluster.processes.values()))
            await asyncio.wait({background})


async def _with_programs(
    stack: AsyncExitStack,
    plane: ControlPlane,
    kubelets: Nodes,
    nodes: tuple[SimulatedNode, ...],
    folder: Path,
    rng: random.Random,
    faults: Counter[Fault],
    claims: str,
) -> Cluster:
    weather = {}
    commands = {}
    for number in range(_REPLICAS):
        proxy = await stack.enter_async_context(
            Weather(find_credentials(plane.kubeconfig("operator")), random.Random(rng.random()), faults)
        )
        weather[f"operator-{number}"] = proxy
        kubeconfig = proxy.write_kubeconfig(folder / f"operator-{number}.kubeconfig")
        flags = (f"--claims={claims}", "--log-format=json", f"--kubeconfig={kubeconfig}")
        commands[f"operator-{number}"] = [*_COMMAND, "run", *flags]
    for number, node in enumerate(nodes):
        proxy = await stack.enter_async_context(
            Weather(find_credentials(plane.agent_kubeconfig(node.name)), random.Random(rng.random()), faults)
        )
        weather[f"agent-{number}"] = proxy
        kubeconfig = proxy.write_kubeconfig(folder / f"agent-{number}.kubeconfig")
        place = folder / str(number)
        (place / "plugins_registry").mkdir(parents=True)
        group = next(group for group in _GROUPS if node.name.startswith(group.name))
        commands[f"agent-{number}"] = [
            *(*_COMMAND, "agent", "--plugin=on", "--log-format=json", f"--node-name={node.name}"),
            *(f"--profile={group.profile}", f"--gpus={group.gpus}", f"--kubeconfig={kubeconfig}"),
            *(f"--kubelet-dir={place}", f"--cdi-dir={place / 'cdi'}"),
        ]
    cluster = Cluster(plane, folder, weather, nodes, kubelets, commands)
    for name in commands:
        cluster.start(name)
    return cluster


@asynccontextmanager
async def _plugin(folder: Path, driver: str) -> AsyncIterator[Path]:
    """The agent's own process serves it; a kubelet finds it by its registration socket."""
    socket = Sockets(folder, driver).registration

    async def there() -> bool:
        return socket.exists()

    await wait_until(f"an agent to serve {socket}", there, _PLUGIN_SECONDS)
    yield socket


def _kind(name: str) -> str:
    return name.rstrip("-0123456789")


def _signal(process: Process, number: signal.Signals) -> None:
    if process.alive:
        os.kill(process.pid, number)


def _last_words(log: Path) -> str:
    """What is no event in the end of a program's log: an error for people, or a traceback."""
    return " ".join(line for line in log.read_text().splitlines()[-40:] if not line.startswith("{"))
