"""A source without GPUs: the devices of a profile, or those that a file lists.

The file is YAML and has the form of a ResourceSlice's `spec`, so that a slice of a real node can be replayed:

    devices:
      - name: gpu-0
        attributes: {productName: {string: NVIDIA L4}}
        capacity: {memory: {value: 24Gi}}
"""

from __future__ import annotations

from pathlib import Path

import yaml

from dra_operator.agent.gpu import Naming
from dra_operator.agent.profiles import Profile
from dra_operator.agent.sources import NodeDevices, SourceError
from dra_operator.api.codec import convert
from dra_operator.api.meta import Struct
from dra_operator.api.resource import BasicDevice, CounterSet


class DeviceFile(Struct, frozen=True, kw_only=True):
    devices: tuple[BasicDevice, ...]
    shared_counters: tuple[CounterSet, ...] = ()


class ProfileSource:
    """`gpus` GPUs of a profile; without a number, as many as such a node usually has."""

    def __init__(self, profile: Profile, node_name: str, gpus: int | None = None, naming: Naming = Naming.OWN) -> None:
        self._devices = profile.devices_of(node_name, gpus, naming)

    def read(self) -> NodeDevices:
        return self._devices


class FileSource:
    """The devices that a file lists at the moment of asking."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> NodeDevices:
        try:
            file = convert(yaml.safe_load(self._path.read_text("utf-8")), DeviceFile)
            return NodeDevices(file.devices, file.shared_counters)
        except (OSError, ValueError, yaml.YAMLError) as error:  # msgspec's and Quantity's errors are ValueErrors
            raise SourceError(f"{self._path}: {error}") from error
