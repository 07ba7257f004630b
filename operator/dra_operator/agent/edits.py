"""What a device changes in a container: environment, device nodes, mounts (`containerEdits` of a CDI spec).

Upstream: the Container Device Interface, tags.cncf.io/container-device-interface/specs-go.
"""

from __future__ import annotations

from dra_operator.api.meta import Struct


class DeviceNode(Struct, frozen=True, kw_only=True):
    path: str


class Mount(Struct, frozen=True, kw_only=True):
    host_path: str
    container_path: str
    options: tuple[str, ...] = ()


class ContainerEdits(Struct, frozen=True, kw_only=True):
    env: tuple[str, ...] = ()
    """`NAME=value`; of two values for a name the later one counts."""
    device_nodes: tuple[DeviceNode, ...] = ()
    mounts: tuple[Mount, ...] = ()

    def plus(self, other: ContainerEdits) -> ContainerEdits:
        return ContainerEdits(
            env=(*self.env, *other.env),
            device_nodes=(*self.device_nodes, *other.device_nodes),
            mounts=(*self.mounts, *other.mounts),
        )
