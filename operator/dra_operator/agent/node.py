"""The agent of one node: asks its source what devices there are, and keeps the slices saying so, with their taints.

With a place for it, it also serves the kubelet (`kubelet.py`); without, it only publishes. It starts before its Node
exists, outlives failures of the API server and of the source, and ends only when cancelled. Slices stay behind when it
ends: pods that hold devices go on, and an agent that starts again finds its slices right.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from dra_operator.agent.health import HealthBoard
from dra_operator.agent.kubelet import Place, node_plugin
from dra_operator.agent.metrics import MetricsServer
from dra_operator.agent.monitor import HealthMonitor
from dra_operator.agent.publisher import Publisher, RivalPublisherError
from dra_operator.agent.sources import NodeDevices, Source, SourceError
from dra_operator.agent.taints import DeviceTaints
from dra_operator.agent.unpreparing import UnpreparingTaints
from dra_operator.api.kinds import NODES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.resource import BasicDevice
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer

log = structlog.get_logger()

_HEALTH_SECONDS: Final = 5.0
"""Between two looks at the health of all devices; events of the source are looked at when they come."""
_PAUSE_SECONDS: Final = 2.0
"""Between two tries at the start."""

T = TypeVar("T")


async def serve_node(
    client: ApiClient,
    source: Source,
    *,
    node_name: str,
    driver: str,
    place: Place | None = None,
    metrics_address: str = "",
    refresh_seconds: float = 10.0,
) -> None:
    """Publish what `source` says of the node, until cancelled. It is asked every `refresh_seconds`.

    With a `place`, claims of its devices are prepared there. Raises SocketError or OSError if it is none, ValueError or
    OSError for a `metrics_address` that cannot be, and RivalPublisherError where another publishes for this driver.
    """
    inventory, taints, health = Inventory(), DeviceTaints(), HealthBoard()
    monitor = HealthMonitor(source, taints, health, now=time.time, interval=_HEALTH_SECONDS)
    metrics = MetricsServer(metrics_address, driver, health) if metrics_address else None
    listening = await metrics.listen() if metrics is not None else None
    async with contextlib.AsyncExitStack() as stack:
        plugin = None
        if place is not None:
            plugin = node_plugin(
                client,
                place,
                driver=driver,
                node_name=node_name,
                devices=inventory.by_name,
                injector=source.injector,
                health=health,
            )
            source.attach(plugin.made)
            await stack.enter_async_context(plugin.serving())
        key = ObjectKey("", node_name)
        node = await _until_answered(lambda: client.get(NODES, key), "waiting for the Node", node=node_name)
        publisher = Publisher(client, node_name=node_name, node_uid=node.uid, driver=driver)
        await _until_answered(publisher.refuse_rivals, "waiting for the API server")
        changes = _publish_changes(publisher, source, inventory, monitor, taints, refresh_seconds)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publisher.run(), name="publisher")
            tasks.create_task(changes, name="source")
            tasks.create_task(monitor.run(), name="health")
            if metrics is not None and listening is not None:
                tasks.create_task(metrics.serve(listening), name="metrics")
            if plugin is not None:
                unpreparing = UnpreparingTaints(client, driver, taints, plugin.prepared, plugin.changed)
                tasks.create_task(unpreparing.run(), name="unpreparing")


class Inventory:
    """What the source said last, for who needs it without asking anew."""

    def __init__(self) -> None:
        self._devices: dict[str, BasicDevice] | None = None

    def saw(self, node: NodeDevices) -> None:
        self._devices = {device.name: device for device in node.devices}

    def by_name(self) -> dict[str, BasicDevice] | None:
        """None before the source has said anything."""
        return self._devices


async def _until_answered(question: Callable[[], Awaitable[T]], waiting: str, **of: str) -> T:
    """Ask until there is an answer. Raises ApiError for a right that is lacking: waiting does not give it."""
    while True:
        try:
            return await question()
        except (ApiError, NoAnswer) as error:
            if isinstance(error, ApiError) and error.status in (401, 403):
                raise
            log.warning(waiting, **of, error=str(error))
        await asyncio.sleep(_PAUSE_SECONDS)


async def _publish_changes(
    publisher: Publisher,
    source: Source,
    inventory: Inventory,
    monitor: HealthMonitor,
    taints: DeviceTaints,
    refresh_seconds: float,
) -> None:
    read: NodeDevices | None = None
    published: NodeDevices | None = None
    while True:
        try:
            read = await asyncio.to_thread(source.read)
            inventory.saw(read)
            await monitor.saw(read)
        except SourceError as error:
            log.error("the source cannot be read, its last devices stay published", error=str(error))
        taints.changed.clear()
        if read is not None and (devices := taints.on(read)) != published:
            try:
                writes = await publisher.publish(devices)
                log.info("devices published", devices=len(devices.devices), writes=writes)
                published = devices
            except (ApiError, NoAnswer, RivalPublisherError) as error:
                log.warning("devices not published", error=str(error), again_in=refresh_seconds)
        with contextlib.suppress(TimeoutError):  # not `wait_for`: before 3.12 it can swallow a cancellation
            async with asyncio.timeout(refresh_seconds):
                await taints.changed.wait()
