"""A node's plugin on sockets of its own, a client that calls it as a kubelet does, and an API server with claims.

`Bench` can die and come back: `restart` is a new agent on the same folders, as after a kill.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio

from dra_operator.agent.allocated import AllocatedDevice
from dra_operator.agent.checkpoint import FILE_NAME, Checkpoint, CheckpointFile
from dra_operator.agent.disk import Disk
from dra_operator.agent.edits import ContainerEdits
from dra_operator.agent.health import HealthBoard
from dra_operator.agent.injection import Injector, SimulatedInjector
from dra_operator.agent.kubelet import NodePlugin, Place, node_plugin
from dra_operator.agent.profiles import load_profile
from dra_operator.agent.protos import dra_v1_pb2 as v1
from dra_operator.agent.services import PREPARE_V1, UNPREPARE_V1
from dra_operator.api.resource import BasicDevice
from tests.unit.cluster.apiserver import ApiServer, serving

DRIVER = "gpu.dra-operator.io"
NODE = "node-a"
BOOT = "boot-1"


def gpus(count: int = 4) -> dict[str, BasicDevice]:
    return {device.name: device for device in load_profile("l4").devices_of(NODE, count).devices}


def result(device: str, *, request: str = "gpu", driver: str = DRIVER, pool: str = NODE, **more: Any) -> dict[str, Any]:
    return {"request": request, "driver": driver, "pool": pool, "device": device, **more}


def opaque(parameters: Any, *, driver: str = DRIVER, source: str = "FromClaim", requests: Sequence[str] = ()) -> Any:
    return {"source": source, "requests": list(requests), "opaque": {"driver": driver, "parameters": parameters}}


def claim_ref(claim: Mapping[str, Any]) -> v1.Claim:
    metadata = claim["metadata"]
    return v1.Claim(namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"])


class Workshop(SimulatedInjector):
    """Makes the devices whose names begin with `made`, and may be out of order."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.trouble = ""

    def makes(self, device: BasicDevice) -> bool:
        return device.name.startswith("made")

    def edits(self, driver: str, allocated: AllocatedDevice, device: BasicDevice) -> ContainerEdits:
        if self.makes(device):
            self.there.add(device.name)
        if self.trouble:
            raise OSError(self.trouble)
        return super().edits(driver, allocated, device)

    def undo(self, device: str) -> None:
        if self.trouble:
            raise OSError(self.trouble)
        self.there.discard(device)


@dataclass
class Bench:
    """See the module."""

    root: Path
    api: ApiServer
    devices: dict[str, BasicDevice] | None = field(default_factory=gpus)
    disk: Disk = field(default_factory=Disk)
    boot: str = BOOT
    pod_uid: str = ""
    injector: Injector = field(default_factory=SimulatedInjector)
    health: HealthBoard = field(default_factory=HealthBoard)
    plugin: NodePlugin | None = None
    _stack: AsyncExitStack | None = None
    _channel: grpc.aio.Channel | None = None

    # --- the agent's life ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        stack = AsyncExitStack()
        client = await stack.enter_async_context(self.api.client())
        self.plugin = node_plugin(
            client,
            Place(self.root / "kubelet", self.root / "cdi", self.pod_uid),
            driver=DRIVER,
            node_name=NODE,
            devices=lambda: self.devices,
            injector=self.injector,
            health=self.health,
            disk=self.disk,
            boot_id=self.boot,
        )
        (self.root / "kubelet" / "plugins_registry").mkdir(parents=True, exist_ok=True)
        await stack.enter_async_context(self.plugin.serving())
        self._channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(
                f"unix:{self.plugin.sockets.plugin}", options=[("grpc.use_local_subchannel_pool", 1)]
            )
        )
        self._stack = stack

    async def stop(self) -> None:
        if self._stack is not None:
            await self._stack.aclose()
            self._stack = None

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    @property
    def channel(self) -> grpc.aio.Channel:
        assert self._channel is not None
        return self._channel

    # --- what the kubelet does -----------------------------------------------------------------------------------

    async def prepare(self, *claims: Mapping[str, Any]) -> dict[str, v1.NodePrepareResourceResponse]:
        """The answers by the names of the claims."""
        request = v1.NodePrepareResourcesRequest(claims=[claim_ref(claim) for claim in claims])
        answer = await PREPARE_V1.call(self.channel, request, timeout=30)
        names = {claim["metadata"]["uid"]: claim["metadata"]["name"] for claim in claims}
        return {names[uid]: one for uid, one in answer.claims.items()}

    async def unprepare(self, *claims: Mapping[str, Any]) -> dict[str, str]:
        """The errors by the names of the claims."""
        request = v1.NodeUnprepareResourcesRequest(claims=[claim_ref(claim) for claim in claims])
        answer = await UNPREPARE_V1.call(self.channel, request, timeout=30)
        names = {claim["metadata"]["uid"]: claim["metadata"]["name"] for claim in claims}
        return {names[uid]: one.error for uid, one in answer.claims.items()}

    # --- what is in the cluster ----------------------------------------------------------------------------------

    def claim(
        self,
        name: str,
        *results: Mapping[str, Any] | str,
        config: Sequence[Any] = (),
        annotations: Mapping[str, str] | None = None,
        uid: str = "",
    ) -> dict[str, Any]:
        """An allocated claim; a result may be given by its device's name. Without results it is not allocated."""
        listed = [result(one) if isinstance(one, str) else dict(one) for one in results]
        status: dict[str, Any] = {}
        if listed:
            status["allocation"] = {"devices": {"results": listed, "config": list(config)}}
        return self.api.put(
            f"/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/{name}",
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceClaim",
                "metadata": {
                    "name": name,
                    "namespace": "default",
                    "annotations": dict(annotations or {}),
                    **({"uid": uid} if uid else {}),
                },
                "spec": {"devices": {"requests": [{"name": "gpu"}]}},
                "status": status,
            },
        )

    def unknown(self, name: str = "unknown", uid: str = "") -> dict[str, Any]:
        """A claim that the API server does not have."""
        return {"metadata": {"name": name, "namespace": "default", "uid": uid or str(uuid.uuid4())}}

    # --- what is on disk -----------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        return self.root / "kubelet" / "plugins" / DRIVER

    @property
    def cdi(self) -> Path:
        return self.root / "cdi"

    def specs(self) -> list[str]:
        """The names of all files in the CDI folder."""
        return sorted(path.name for path in self.cdi.iterdir()) if self.cdi.exists() else []

    def spec(self, claim: Mapping[str, Any]) -> dict[str, Any]:
        text = (self.cdi / self.spec_name(claim)).read_text()
        spec: dict[str, Any] = json.loads(text)
        return spec

    @staticmethod
    def spec_name(claim: Mapping[str, Any]) -> str:
        return f"{DRIVER}-claim_{claim['metadata']['uid']}.json"

    def checkpoint(self) -> Checkpoint:
        checkpoint = CheckpointFile(self.disk, self.folder / FILE_NAME).read()
        assert checkpoint is not None
        return checkpoint

    def prepared(self) -> list[str]:
        """The names of the claims that the checkpoint says are prepared."""
        return sorted(claim.name for claim in self.checkpoint().claims if claim.state == "completed")


@asynccontextmanager
async def bench(root: Path, step: Callable[[str], None] | None = None) -> AsyncIterator[Bench]:
    """An agent that serves; `step` is told of each change on disk."""
    async with serving() as api:
        one = Bench(root, api, disk=Disk(step) if step else Disk())
        await one.start()
        try:
            yield one
        finally:
            await one.stop()
