"""All that the kubelet meets of an agent: the plugin, its health stream, its registration, on their sockets.

The order matters: what is on disk is put right first, then the plugin listens, then it registers, so that nobody calls
a plugin that cannot answer. At the end it is the other way round.

One agent a driver and node, unless each says its pod's UID: those of a rolling update may overlap.
"""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dra_operator.agent.checkpoint import PreparedClaim, read_boot_id
from dra_operator.agent.disk import Disk
from dra_operator.agent.health import HealthReports
from dra_operator.agent.healthstream import HealthService
from dra_operator.agent.injection import Injector
from dra_operator.agent.plugin import Devices, Plugin
from dra_operator.agent.preparation import Preparation
from dra_operator.agent.registration import KUBELET_FOLDER, Endpoint, Registration, SocketError, Sockets
from dra_operator.agent.services import DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1
from dra_operator.api.meta import Uid
from dra_operator.cluster.http import ApiClient

CDI_FOLDER: Final = Path("/var/run/cdi")
_SERVICES: Final = (DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the node the plugin lives."""

    kubelet: Path = KUBELET_FOLDER
    cdi: Path = CDI_FOLDER
    pod_uid: str = ""

    def has_kubelet(self) -> bool:
        return (self.kubelet / "plugins_registry").is_dir()


@dataclass(frozen=True, slots=True)
class NodePlugin:
    """The plugin of one driver on one node, before it serves."""

    driver: str
    pool: str
    sockets: Sockets
    preparation: Preparation
    plugin: Plugin
    health: HealthReports
    registration: Registration
    exclusive: bool

    def prepared(self) -> Mapping[Uid, PreparedClaim]:
        """The claims that are prepared now."""
        return self.preparation.claims

    def made(self) -> set[str]:
        """The devices that were made for claims."""
        devices = (device for claim in self.prepared().values() for device in claim.devices)
        return {device.allocated.device for device in devices if device.made}

    @property
    def changed(self) -> asyncio.Event:
        """Set when other claims may be prepared; who waits for it clears it."""
        return self.plugin.changed

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serves for the length of the block, whatever happens to the sockets. Raises SocketError, OSError."""
        with self._only_one():
            await self.plugin.restore()
            service = HealthService(self.pool, self.health)
            plugin = Endpoint(self.sockets.plugin, lambda: [*self.plugin.handlers(), *service.handlers()])
            registration = Endpoint(self.sockets.registration, self.registration.handlers)
            try:
                await plugin.start()
                await registration.start()
                keeping = [asyncio.create_task(endpoint.keep()) for endpoint in (plugin, registration)]
                try:
                    yield
                finally:
                    for task in keeping:
                        task.cancel()
                    await asyncio.wait(keeping)
            finally:
                await registration.stop()
                await plugin.stop()
                self.plugin.close()

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        self.sockets.folder.mkdir(mode=0o750, parents=True, exist_ok=True)  # as the kubelet's own folders
        with (self.sockets.folder / "agent.lock").open("a") as handle:
            try:
                fcntl.flock(handle, (fcntl.LOCK_EX if self.exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SocketError(f"another agent serves driver {self.driver} on this node") from None
            yield


def node_plugin(
    client: ApiClient,
    place: Place,
    *,
    driver: str,
    node_name: str,
    devices: Callable[[], Devices | None],
    injector: Injector,
    health: HealthReports,
    disk: Disk | None = None,
    boot_id: str | None = None,
) -> NodePlugin:
    """Raises SocketError for a place whose paths are too long."""
    sockets = Sockets(place.kubelet, driver, place.pod_uid)
    preparation = Preparation(
        driver=driver,
        pool=node_name,
        folder=sockets.folder,
        cdi_folder=place.cdi,
        boot_id=boot_id or read_boot_id(),
        injector=injector,
        disk=disk or Disk(),
    )
    return NodePlugin(
        driver=driver,
        pool=node_name,
        sockets=sockets,
        preparation=preparation,
        plugin=Plugin(client, preparation, devices),
        health=health,
        registration=Registration(driver, sockets.plugin, _SERVICES),
        exclusive=not place.pod_uid,
    )
