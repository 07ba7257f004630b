"""A cluster on which an admin installed the operator from `manifests/`, in one of its flavours.

Everything that has a name in the manifests is real: namespace, accounts, roles, policies, the Deployment's pods and the
DaemonSet's. What those pods would run, runs here as local processes under their identities: each controller and each
agent has the token of its pod, and dies for good when somebody deletes the pod. The controller's flags are those of the
Deployment, but for the port.

The API server writes down what these accounts ask for (`audit.py`), and every claim is watched (`doubles.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from dra_operator.agent.kubelet import Place
from dra_operator.agent.registration import Sockets
from dra_operator.api.kinds import CLAIMS, PODS, SLICES
from dra_operator.api.names import OPERATOR_NAMESPACE
from dra_operator.api.rights import AGENT_ACCOUNT, CONTROLLER_ACCOUNT
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.cluster.reflector import Reflector
from dra_operator.sandbox.controlplane import ControlPlane, Options, wait_for_service_accounts
from dra_operator.sandbox.inventory import NodeGroup, SimulatedNode, expand
from dra_operator.sandbox.nodes import Nodes
from dra_operator.sandbox.plugins import PluginRuntime, Serving
from dra_operator.sandbox.processes import start, wait_until
from dra_operator.sandbox.supervisor import wait_for_gate
from tests.controlplane import binaries
from tests.e2e.operators import RUN
from tests.e2e.replicas import Replica, leader
from tests.e2e.stage import make_class
from tests.e2e.suite import audit
from tests.e2e.suite.doubles import Doubles
from tests.e2e.suite.flavours import Flavour
from tests.webhook import free_port, url_patches

MANIFESTS: Final = Path(__file__).parents[3] / "manifests"
GROUPS: Final = (
    NodeGroup(name="gpu", count=2, profile="l4", gpus=2, labels={"dra-operator.io/gpu": "true"}),
    NodeGroup(name="mig", profile="a100-sxm-80gb-mig", gpus=1, labels={"dra-operator.io/gpu": "true"}),
)
GPU_CLASS: Final = "gpu.e2e"
"""Four whole GPUs, two a node."""
MIG_CLASS: Final = "mig.e2e"
"""Partitions of one A100."""
_ATTRIBUTES: Final = "device.driver == 'gpu.dra-operator.io' && device.attributes['gpu.dra-operator.io']"
_AGENT: Final = (sys.executable, "-m", "dra_operator.cli.main", "agent")
_PATIENCE: Final = 60.0


@dataclass(slots=True)
class Ground:
    """See the module."""

    flavour: Flavour
    plane: ControlPlane
    admin: ApiClient
    folder: Path
    doubles: Doubles
    webhook_port: int
    controllers: dict[str, Replica] = field(default_factory=dict)
    agents: dict[str, Replica] = field(default_factory=dict)

    @property
    def overlay(self) -> Path:
        """The flavour's, with webhooks at a port of this machine, since its Service leads nowhere."""
        folder = self.folder / "overlay"
        folder.mkdir(exist_ok=True)
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(MANIFESTS / "overlays" / self.flavour.overlay, folder.resolve())],
            "patches": url_patches(self.webhook_port),
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return folder

    # --- controllers -------------------------------------------------------------------------------------------------

    async def start_controller(self, pod: str) -> Replica:
        """In the place of that pod; returns when it is ready."""
        config = await asyncio.to_thread(self.plane.bound_kubeconfig, CONTROLLER_ACCOUNT, "Pod", pod)
        flags = await asyncio.to_thread(self._deployed_flags)
        given = [flag for flag in flags if not flag.startswith(("--metrics-address", "--webhook-address"))]
        if any(flag.startswith("--webhook-address") for flag in flags):
            given.append(f"--webhook-address=127.0.0.1:{self.webhook_port}")
        log = self.plane.logs / f"{pod}-{len(list(self.plane.logs.glob(f'{pod}*')))}.log"
        command = [*RUN, *given, *self.flavour.flags, f"--kubeconfig={config}", "--metrics-address=127.0.0.1:0"]
        replica = Replica(pod, start(pod, command, log, {"DRA_OPERATOR_NAMESPACE": OPERATOR_NAMESPACE}))
        self.controllers[pod] = replica
        await replica.ready()
        return replica

    async def leader(self) -> Replica:
        """Who holds the Lease, as soon as one does that lives."""
        return await leader(self.admin, self.controllers.values())

    def _deployed_flags(self) -> list[str]:
        """What the Deployment starts the controller with, after the command's name."""
        text = self.plane.kubectl(
            "get", "deployment", "dra-operator", f"--namespace={OPERATOR_NAMESPACE}", "-o=json"
        ).stdout
        [container] = json.loads(text)["spec"]["template"]["spec"]["containers"]
        command, *flags = container["args"]
        assert command == "run"
        return list(flags)

    # --- what was installed -------------------------------------------------------------------------------------------

    def objects(self) -> list[dict[str, Any]]:
        """Of the overlay."""
        rendered = self.plane.kubectl("kustomize", str(self.overlay)).stdout
        return [one for one in yaml.safe_load_all(rendered) if one]

    async def pods_of(self, component: str) -> dict[str, str]:
        """Running pods of the Deployment (`controller`) or the DaemonSet (`agent`), and their nodes."""
        pods, _ = await self.admin.list_objects(
            PODS, namespace=OPERATOR_NAMESPACE, label_selector=f"app.kubernetes.io/component={component}"
        )
        return {pod.metadata.name: pod.spec.node_name for pod in pods if pod.status.phase == "Running"}


@asynccontextmanager
async def installed(flavour: Flavour) -> AsyncIterator[Ground]:
    """See the module. At the end all of it is gone; the logs stay if something failed while it came up."""
    nodes = expand(list(GROUPS))
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(_folder())
        options = Options(
            crd=flavour.crd,
            resourceclaim_controller=flavour.stock_generator,
            service_account_admission=True,
            api_server_flags=(*audit.flags(folder), *flavour.api_server_flags),
            scheduler_flags=() if flavour.scheduler_allocates else _without_plugin(folder),
        )
        plane = await stack.enter_async_context(ControlPlane(binaries(), options, folder))
        admin = await stack.enter_async_context(plane.client())
        await wait_for_service_accounts(admin)
        doubles = Doubles()
        ground = Ground(flavour, plane, admin, folder, doubles, free_port())
        await asyncio.to_thread(plane.kubectl, "apply", "--validate=strict", "-k", str(ground.overlay))
        places = {node.name: Place(folder / str(i), folder / str(i) / "cdi") for i, node in enumerate(nodes)}
        for place in places.values():
            (place.kubelet / "plugins_registry").mkdir(parents=True)
        runtime = await stack.enter_async_context(
            PluginRuntime({node.name: (node.driver, _already(places[node.name], node.driver)) for node in nodes})
        )
        cluster = Nodes(admin, nodes, sandbox=flavour.name, runtime=runtime, publishes=False)
        await cluster.register()
        stack.callback(_end, ground)
        await stack.enter_async_context(_in_background(cluster, admin, doubles))
        await _start_everything(ground, nodes, places)
        await wait_for_gate(admin)
        await wait_until("classes to be accepted", lambda: _make_classes(admin), _PATIENCE)
        yield ground


async def _start_everything(ground: Ground, nodes: list[SimulatedNode], places: dict[str, Place]) -> None:
    async def running() -> bool:
        return len(await ground.pods_of("controller")) == 2 and len(await ground.pods_of("agent")) == len(nodes)

    await wait_until("the Deployment's and the DaemonSet's pods", running, _PATIENCE)
    for pod, name in (await ground.pods_of("agent")).items():
        group = next(one for one in GROUPS if name.startswith(one.name))
        config = await asyncio.to_thread(ground.plane.bound_kubeconfig, AGENT_ACCOUNT, "Pod", pod)
        place = places[name]
        flags = (f"--node-name={name}", f"--profile={group.profile}", f"--gpus={group.gpus}", f"--kubeconfig={config}")
        folders = (f"--kubelet-dir={place.kubelet}", f"--cdi-dir={place.cdi}", "--log-format=json")
        log = ground.plane.logs / f"{pod}.log"
        ground.agents[name] = Replica(pod, start(pod, [*_AGENT, *flags, *folders], log))

    async def published() -> bool:
        slices, _ = await ground.admin.list_objects(SLICES)
        return {one.spec.node_name for one in slices} == set(places)

    await asyncio.gather(
        wait_until("slices", published, _PATIENCE, [agent.process for agent in ground.agents.values()]),
        *(ground.start_controller(pod) for pod in await ground.pods_of("controller")),
    )


@asynccontextmanager
async def _in_background(nodes: Nodes, admin: ApiClient, doubles: Doubles) -> AsyncIterator[None]:
    rng = random.Random(0)
    tasks = [
        asyncio.create_task(nodes.run()),
        asyncio.create_task(Reflector(admin, CLAIMS, doubles, rng=rng).run()),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _make_classes(admin: ApiClient) -> bool:
    """Whether they are there: a webhook that checks them has to be reached first."""
    try:
        await make_class(admin, GPU_CLASS, f"{_ATTRIBUTES}.type == 'gpu'")
        await make_class(admin, MIG_CLASS, f"{_ATTRIBUTES}.type == 'mig'")
    except ApiError as error:
        if error.status < 500:
            raise
        return False
    return True


def _already(place: Place, driver: str) -> Serving:
    """An agent serves there by itself."""

    @asynccontextmanager
    async def serving() -> AsyncIterator[Path]:
        yield Sockets(place.kubelet, driver).registration

    return serving


def _without_plugin(folder: Path) -> tuple[str, ...]:
    """Flags of a kube-scheduler that allocates nothing. A configuration leaves it none of the other flags."""
    config = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(folder / "kube-scheduler.kubeconfig")},
        "leaderElection": {"leaderElect": False},
        "profiles": [{"plugins": {"multiPoint": {"disabled": [{"name": "DynamicResources"}]}}}],
    }
    file = folder / "scheduler.yaml"
    file.write_text(yaml.safe_dump(config))
    return (f"--config={file}",)


@contextmanager
def _folder() -> Iterator[Path]:
    """A short one: the path of a socket may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="dra-"))
    try:
        yield folder
    except BaseException as error:
        error.add_note(f"logs: {folder / 'log'}")
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _end(ground: Ground) -> None:
    for replica in (*ground.controllers.values(), *ground.agents.values()):
        if replica.process.alive:
            replica.process.kill()
