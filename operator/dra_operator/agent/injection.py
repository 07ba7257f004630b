"""From a device to what a container of its claim gets.

A simulated device is nothing but facts, so it gives variables: a container can print what it got. A real GPU gives
its device nodes too. Variables are named by the device, so that several devices in a container stand side by side:

    DRA_DEVICE_GPU_3=gpu.dra-operator.io/node-a/gpu-3
    DRA_DEVICE_GPU_3_UUID=GPU-5c24…
    DRA_DEVICE_GPU_3_PRODUCT_NAME=NVIDIA L4
    DRA_DEVICE_GPU_3_MEMORY=24Gi

Not here: all other facts (`metadata.py`), variables that a claim asks for (`config.py`).
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from dra_operator.agent.allocated import AllocatedDevice
from dra_operator.agent.edits import ContainerEdits
from dra_operator.api.resource import BasicDevice

_SHOWN_ATTRIBUTES: Final = (("UUID", "uuid"), ("PRODUCT_NAME", "productName"))
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Injector(Protocol):
    """What a node's devices change in a container. Methods may block, and raise OSError with a message for the user."""

    def makes(self, device: BasicDevice) -> bool:
        """Whether `edits` makes the device (a partition that is only possible), so that it has to be undone."""
        ...

    def edits(self, driver: str, allocated: AllocatedDevice, device: BasicDevice) -> ContainerEdits:
        """Safe to repeat: what was made already is used."""
        ...

    def undo(self, device: str) -> None:
        """Of a device that `edits` made, or died over; nothing if it is not there (any more)."""
        ...


class SimulatedInjector:
    """Devices that are not there: variables only."""

    def makes(self, device: BasicDevice) -> bool:
        return False

    def edits(self, driver: str, allocated: AllocatedDevice, device: BasicDevice) -> ContainerEdits:
        return ContainerEdits(env=device_env(driver, allocated, device))

    def undo(self, device: str) -> None:
        """There is nothing."""


def env_name(allocated: AllocatedDevice) -> str:
    """How the variables of the device begin."""
    return "DRA_DEVICE_" + re.sub(r"[^A-Z0-9]", "_", allocated.device.upper())


def device_env(driver: str, allocated: AllocatedDevice, device: BasicDevice) -> tuple[str, ...]:
    name = env_name(allocated)
    values = {name: f"{driver}/{allocated.pool}/{allocated.device}"}
    if allocated.share_id is not None:
        values[f"{name}_SHARE_ID"] = allocated.share_id
    for suffix, attribute in _SHOWN_ATTRIBUTES:
        fact = (device.attributes or {}).get(attribute)
        if fact is not None and fact.string_value is not None:
            values[f"{name}_{suffix}"] = _CONTROL.sub(" ", fact.string_value)
    memory = (device.capacity or {}).get("memory")
    if memory is not None:
        values[f"{name}_MEMORY"] = str(memory.value)
    return tuple(f"{key}={value}" for key, value in values.items())
