"""The stand-in kubelets' way to the devices: each simulated node has the agent's own plugin, called over its sockets.

A node's plugin starts with the first pod that needs it (a thousand nodes cost nothing until then), in this process and
on sockets, CDI and checkpoint folders of its own. The kubelet's side keeps to what a real one does: it asks the
registration socket who is there and calls the endpoint that it names; it remembers a pod before it prepares for it, and
unprepares a claim when the last pod has ended that it prepared it for.

Upstream: pkg/kubelet/cm/dra (`Manager`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias
from weakref import WeakValueDictionary

import grpc.aio
import structlog

from dra_operator.agent.allocated import allocated_devices
from dra_operator.agent.health import HealthBoard
from dra_operator.agent.injection import SimulatedInjector
from dra_operator.agent.kubelet import Place, node_plugin
from dra_operator.agent.protos import dra_v1_pb2 as v1
from dra_operator.agent.protos import registration_pb2 as registration
from dra_operator.agent.services import GET_INFO, NOTIFY_STATUS, PREPARE_V1, UNPREPARE_V1
from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.resource import ResourceClaim
from dra_operator.cluster.http import ApiClient
from dra_operator.sandbox.inventory import SimulatedNode
from dra_operator.sandbox.runtime import NotYetError, admitted_claims

log = structlog.get_logger()

_CALL_SECONDS: Final = 45.0
_RETRY_SECONDS: Final = 0.5
_CHANNEL: Final = (("grpc.use_local_subchannel_pool", 1),)


Serving: TypeAlias = Callable[[], AbstractAsyncContextManager[Path]]
"""Lets a node's plugin serve for the length of the block, and says where its registration socket is."""


class PluginRuntime:
    """See the module. An async context manager: at its end all plugins are stopped."""

    def __init__(self, nodes: Mapping[str, tuple[str, Serving]]) -> None:
        """`nodes`: the driver of each, and how its plugin comes to serve."""
        self._nodes = {name: _Node(name, driver, serving) for name, (driver, serving) in nodes.items()}

    @classmethod
    def of_own_plugins(cls, client: ApiClient, nodes: Sequence[SimulatedNode], folder: Path) -> Self:
        """Plugins in this process."""
        return cls(
            {
                node.name: (node.driver, partial(_serving, client, node, folder / str(number)))
                for number, node in enumerate(nodes)
            }
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(node.stop() for node in self._nodes.values()))

    async def admit(self, pod: Pod, claims: Mapping[ObjectKey, ResourceClaim]) -> list[ResourceClaim]:
        return admitted_claims(pod, claims)

    async def prepare(self, pod: Pod, claims: list[ResourceClaim]) -> None:
        await self._nodes[pod.spec.node_name].prepare(pod, claims)

    async def unprepare(self, pod: Pod, claims: list[ResourceClaim]) -> None:
        await self._nodes[pod.spec.node_name].unprepare(pod)


@dataclass(slots=True)
class _Use:
    """A claim that was prepared, or is about to be, and the pods that it is for."""

    claim: v1.Claim
    pods: set[Uid] = field(default_factory=set)


class _Node:
    """One node: its plugin, and what its kubelet remembers."""

    def __init__(self, name: str, driver: str, serving: Serving) -> None:
        self._name = name
        self._driver = driver
        self._serving = serving
        self._uses: dict[Uid, _Use] = {}
        self._locks: WeakValueDictionary[Uid, asyncio.Lock] = WeakValueDictionary()
        self._starting = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._channel: grpc.aio.Channel | None = None

    async def prepare(self, pod: Pod, claims: Sequence[ResourceClaim]) -> None:
        """Raises NotYetError, which is worth another try."""
        async with self._locked({claim.uid for claim in claims}):
            for claim in claims:
                self._check_drivers(claim)
                ref = v1.Claim(namespace=claim.metadata.namespace, name=claim.metadata.name, uid=claim.uid)
                self._uses.setdefault(claim.uid, _Use(ref)).pods.add(pod.uid)
            if claims:
                await self._prepare_claims(claims)

    async def _prepare_claims(self, claims: Sequence[ResourceClaim]) -> None:
        request = v1.NodePrepareResourcesRequest(claims=[self._uses[claim.uid].claim for claim in claims])
        try:
            answer = await PREPARE_V1.call(await self._plugin(), request, timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise NotYetError(f"NodePrepareResources: {error.details()}", again_in=_RETRY_SECONDS) from error
        for claim in claims:
            if claim.uid not in answer.claims:
                raise NotYetError(f'claim "{claim.key}" was not answered for', again_in=_RETRY_SECONDS)
            if refused := answer.claims[claim.uid].error:
                raise NotYetError(f'claim "{claim.key}": {refused}', again_in=_RETRY_SECONDS)

    async def unprepare(self, pod: Pod) -> None:
        """Until it is done: a pod is not over before."""
        while mine := {uid for uid, use in self._uses.items() if pod.uid in use.pods}:
            try:
                async with self._locked(mine):
                    await self._leave(pod.uid, mine)
                return
            except NotYetError as error:
                log.warning("not unprepared", node=self._name, pod=str(pod.key), error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)

    async def _leave(self, pod: Uid, claims: set[Uid]) -> None:
        """The pod does not use the claims any more; those that nobody else uses are unprepared. Raises NotYetError."""
        last = []
        for uid in claims:
            use = self._uses[uid]
            if use.pods == {pod}:
                last.append(use.claim)
            else:
                use.pods.discard(pod)
        if last:
            await self._unprepare_claims(last)

    @asynccontextmanager
    async def _locked(self, claims: set[Uid]) -> AsyncIterator[None]:
        """A pod that comes does not meet a claim while its last user leaves it."""
        async with AsyncExitStack() as stack:
            for uid in sorted(claims):
                await stack.enter_async_context(self._locks.setdefault(uid, asyncio.Lock()))
            yield

    async def _unprepare_claims(self, claims: Sequence[v1.Claim]) -> None:
        """Forgets those that are unprepared. Raises NotYetError if one is not."""
        request = v1.NodeUnprepareResourcesRequest(claims=claims)
        try:
            answer = await UNPREPARE_V1.call(await self._plugin(), request, timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise NotYetError(f"NodeUnprepareResources: {error.details()}") from error
        refused = {uid: one.error for uid, one in answer.claims.items() if one.error}
        for uid in answer.claims.keys() - refused.keys():
            del self._uses[Uid(uid)]
        if len(answer.claims) < len(claims) or refused:
            raise NotYetError(f"claims are not unprepared: {refused or 'not all were answered for'}")

    async def stop(self) -> None:
        await self._stack.aclose()

    def _check_drivers(self, claim: ResourceClaim) -> None:
        results = () if claim.status.allocation is None else claim.status.allocation.devices.results or ()
        strangers = {result.driver for result in results} - {self._driver}
        if strangers or not allocated_devices(results, self._driver):
            names = ", ".join(sorted(strangers)) or "(none)"
            raise NotYetError(f'claim "{claim.key}": node {self._name} has no plugin of driver {names}')

    async def _plugin(self) -> grpc.aio.Channel:
        """Started and registered by the first who asks."""
        async with self._starting:
            if self._channel is None:
                self._channel = await self._start()
            return self._channel

    async def _start(self) -> grpc.aio.Channel:
        socket = await self._stack.enter_async_context(self._serving())
        async with grpc.aio.insecure_channel(f"unix:{socket}", options=_CHANNEL) as channel:
            info = await GET_INFO.call(channel, registration.InfoRequest(), timeout=_CALL_SECONDS)
            registered = registration.RegistrationStatus(plugin_registered=True)
            await NOTIFY_STATUS.call(channel, registered, timeout=_CALL_SECONDS)
        return await self._stack.enter_async_context(
            grpc.aio.insecure_channel(f"unix:{info.endpoint}", options=_CHANNEL)
        )


@asynccontextmanager
async def _serving(client: ApiClient, node: SimulatedNode, folder: Path) -> AsyncIterator[Path]:
    devices = {device.name: device for device in node.content.devices}
    plugin = node_plugin(
        client,
        Place(folder, folder / "cdi"),
        driver=node.driver,
        node_name=node.name,
        devices=lambda: devices,
        injector=SimulatedInjector(),
        health=HealthBoard(),
    )
    async with plugin.serving():
        yield plugin.sockets.registration
