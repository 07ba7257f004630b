"""A source without GPUs: the devices of a profile, or those that a file lists. What ails them says a control file.

The file is YAML and has the form of a ResourceSlice's `spec`, so that a slice of a real node can be replayed:

    devices:
      - name: gpu-0
        attributes: {productName: {string: NVIDIA L4}}
        capacity: {memory: {value: 24Gi}}
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import yaml

from dra_operator.agent.control import Control, ControlFile, signs_of
from dra_operator.agent.gpu import Naming
from dra_operator.agent.injection import Injector, SimulatedInjector
from dra_operator.agent.profiles import Profile
from dra_operator.agent.signs import Sign
from dra_operator.agent.sources import NodeDevices, SourceError
from dra_operator.api.codec import convert
from dra_operator.api.meta import Struct
from dra_operator.api.resource import BasicDevice, CounterSet

_SLOWDOWN_CELSIUS: Final = 90
"""Where a device does not say at which temperature it slows down."""


class DeviceFile(Struct, frozen=True, kw_only=True):
    devices: tuple[BasicDevice, ...]
    shared_counters: tuple[CounterSet, ...] = ()


class _Controlled:
    """What both sources have in common: a control file that says what ails their devices, and when all began anew."""

    def __init__(self, control: Path | None) -> None:
        self._control = ControlFile(control)
        self._reloads = 0

    @property
    def injector(self) -> Injector:
        return SimulatedInjector()

    def attach(self, made: Callable[[], Collection[str]]) -> None:
        """Simulated partitions are not made: they are always only possible."""

    @property
    def incarnation(self) -> object:
        return self._reloads

    def _look(self) -> Control:
        control = self._control.read()
        self._reloads = control.reloads
        return control


class ProfileSource(_Controlled):
    """`gpus` GPUs of a profile; without a number, as many as such a node usually has."""

    def __init__(
        self,
        profile: Profile,
        node_name: str,
        gpus: int | None = None,
        naming: Naming = Naming.OWN,
        control: Path | None = None,
    ) -> None:
        super().__init__(control)
        self._profile = profile
        self._node_name = node_name
        self._gpus = gpus
        self._naming = naming
        self._uuids = profile.uuids_of(node_name, gpus)

    def read(self) -> NodeDevices:
        modes = {name: faults.mig for name, faults in self._control.read().devices.items() if faults.mig is not None}
        return self._profile.devices_of(self._node_name, self._gpus, self._naming, mig=modes)

    def signs(self) -> tuple[Sign, ...]:
        control = self._look()
        gpu = self._profile.gpu
        limit = gpu.thermal_slowdown_celsius if gpu is not None else None
        return _all_signs(control, self._uuids, {}, limit or _SLOWDOWN_CELSIUS)

    def wait(self, seconds: float) -> tuple[Sign, ...] | None:
        return self._control.wait(seconds, lambda name: self._uuids.get(name, name))


class FileSource(_Controlled):
    """The devices that a file lists at the moment of asking."""

    def __init__(self, path: Path, control: Path | None = None) -> None:
        super().__init__(control)
        self._path = path

    def read(self) -> NodeDevices:
        self._control.read()
        try:
            file = convert(yaml.safe_load(self._path.read_text("utf-8")), DeviceFile)
            return NodeDevices(file.devices, file.shared_counters)
        except (OSError, ValueError, yaml.YAMLError) as error:  # msgspec's and Quantity's errors are ValueErrors
            raise SourceError(f"{self._path}: {error}") from error

    def signs(self) -> tuple[Sign, ...]:
        control = self._look()
        limits = {
            device.name: limit.int_value
            for device in self.read().devices
            if (limit := (device.attributes or {}).get("thermalSlowdownCelsius")) and limit.int_value is not None
        }
        return _all_signs(control, {}, limits, _SLOWDOWN_CELSIUS)

    def wait(self, seconds: float) -> tuple[Sign, ...] | None:
        return self._control.wait(seconds, lambda name: name)


def _all_signs(
    control: Control, targets: dict[str, str], limits: dict[str, int], default_limit: int
) -> tuple[Sign, ...]:
    """`targets`: the uuids of GPUs by name, where a fault of a GPU is meant for its partitions too."""
    return tuple(
        sign
        for name, faults in control.devices.items()
        for sign in signs_of(faults, targets.get(name, name), limits.get(name, default_limit))
    )
