"""Profiles: kinds of simulated GPU nodes, as data files.

`profiles/NAME.yaml` describes the GPUs of a node of that kind. There are two forms: `gpu` with the facts of one model
and the `slots` that its nodes have (bus address, PCIe root, NUMA node), or `devices` with whole devices as a
ResourceSlice lists them, dealt out in turn. Whatever must differ between two GPUs of a cluster (uuid, index, slot) is
derived from the node's name and the GPU's index, so that a node that restarts has the GPUs that it had. A `gpu` with
`partitions` can be in MIG mode. A profile may be `like` another but for what it says itself.

Not here: how facts become attributes (`gpu.py`, `mig.py`).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import yaml
from msgspec import structs

from dra_operator.agent.gpu import Gpu, Naming, as_device, device_name
from dra_operator.agent.mig import PartitionProfile, counter_set, counters_left, partition_device, possible_partitions
from dra_operator.agent.sources import NodeDevices
from dra_operator.api.codec import convert
from dra_operator.api.meta import Struct
from dra_operator.api.names import DEFAULT_DRIVER
from dra_operator.api.resource import BasicDevice, CounterSet, DeviceAttribute

_UUID_SPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, DEFAULT_DRIVER)


class UnknownProfileError(ValueError):
    """There is no profile of that name. The message lists those that there are."""


class Slot(Struct, frozen=True, kw_only=True):
    """Where a GPU sits in the machine."""

    bus: str
    root: str
    numa: int


class Profile(Struct, frozen=True, kw_only=True):
    """A kind of node. One of `gpu` and `devices` is set."""

    description: str
    gpus: int
    """How many such a node usually has."""
    driver: str = DEFAULT_DRIVER
    gpu: Gpu | None = None
    slots: tuple[Slot, ...] = ()
    partitions: tuple[PartitionProfile, ...] = ()
    mig: bool = False
    """Whether MIG mode is on."""
    devices: tuple[BasicDevice, ...] = ()

    def devices_of(
        self,
        node_name: str,
        gpus: int | None = None,
        naming: Naming = Naming.OWN,
        *,
        mig: Mapping[str, bool] | None = None,
    ) -> NodeDevices:
        """The devices of the node called `node_name`: the same on every call.

        `mig`: by name, GPUs whose MIG mode is another than the profile's.
        """
        identities = self._identities(node_name, gpus)
        if self.gpu is None:
            return NodeDevices(tuple(self._from_devices(identity) for identity in identities))
        devices: list[BasicDevice] = []
        counters: list[CounterSet] = []
        for gpu in (self.gpu_of(identity) for identity in identities):
            if self.partitions and (mig or {}).get(device_name(gpu), self.mig):
                devices += [partition_device(gpu, each, naming) for each in possible_partitions(self.partitions)]
                counters.append(counter_set(gpu, counters_left(self.partitions)))
            else:
                devices.append(as_device(gpu, naming))
        return NodeDevices(tuple(devices), tuple(counters))

    def uuids_of(self, node_name: str, gpus: int | None = None) -> dict[str, str]:
        """By name, the uuids of the GPUs of that node."""
        if self.gpu is None:
            return {}
        return {device_name(gpu): gpu.uuid for gpu in map(self.gpu_of, self._identities(node_name, gpus))}

    def _identities(self, node_name: str, gpus: int | None) -> list[Identity]:
        return [Identity(node_name, index) for index in range(self.gpus if gpus is None else gpus)]

    def gpu_of(self, identity: Identity) -> Gpu:
        """That GPU, if the profile tells of GPUs at all."""
        assert self.gpu is not None
        domain, place = divmod(identity.index, len(self.slots))
        slot = self.slots[place]
        return structs.replace(
            self.gpu,
            uuid=f"GPU-{identity.uuid}",
            index=identity.index,
            minor=identity.index,
            pci_bus_id=_in_domain(domain, slot.bus),
            pcie_root="pci" + _in_domain(domain, slot.root.removeprefix("pci")),
            numa_node=slot.numa,
        )

    def _from_devices(self, identity: Identity) -> BasicDevice:
        device = self.devices[identity.index % len(self.devices)]
        identifying = {
            "index": DeviceAttribute(int_value=identity.index),
            "uuid": DeviceAttribute(string_value=f"gpu-{identity.uuid}"),
        }
        return structs.replace(
            device, name=f"gpu-{identity.index}", attributes={**(device.attributes or {}), **identifying}
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a simulated GPU this one and no other."""

    node_name: str
    index: int

    @property
    def uuid(self) -> uuid.UUID:
        return uuid.uuid5(_UUID_SPACE, f"{self.node_name}/{self.index}")


def profile_names() -> list[str]:
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


def load_profile(name: str) -> Profile:
    """Raises UnknownProfileError."""
    if name not in profile_names():
        raise UnknownProfileError(f"no profile {name!r}; there are: {', '.join(profile_names())}")
    return convert(_load(name), Profile)


def _load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((_folder() / f"{name}.yaml").read_text("utf-8"))
    like = content.pop("like", None)
    return {**_load(like), **content} if like else content


def _folder() -> resources.abc.Traversable:
    return resources.files(__package__) / "profiles"


def _in_domain(domain: int, address: str) -> str:
    """A PCI address (`0000:19:00.0`, `0000:15`) in another PCI domain: a node may have more GPUs than slots."""
    return f"{domain:04x}{address[4:]}"
