"""docs/reference/attributes.md tells of every attribute and capacity that a device can have, and of no other."""

from __future__ import annotations

import re

from dra_operator.agent.described import ATTRIBUTES, CAPACITIES, NVIDIA_ATTRIBUTES, NVIDIA_CAPACITIES
from dra_operator.agent.gpu import Naming
from dra_operator.agent.mig import Partition, partition_device
from dra_operator.agent.profiles import Identity, load_profile, profile_names
from dra_operator.api.resource import BasicDevice


def devices(naming: Naming) -> list[BasicDevice]:
    found: list[BasicDevice] = []
    for profile in (load_profile(name) for name in profile_names()):
        if profile.gpu is None:
            continue
        found += profile.devices_of("node", naming=naming).devices
        for each in profile.partitions:
            made = Partition(profile=each, start=each.starts[0], uuid="MIG-0")
            found.append(partition_device(profile.gpu_of(Identity("node", 0)), made, naming))
    return found


def test_every_attribute_is_described_and_no_other() -> None:
    own = {name for device in devices(Naming.OWN) for name in device.attributes or {}}
    nvidia = {name for device in devices(Naming.NVIDIA) for name in device.attributes or {}}

    assert own == set(ATTRIBUTES)
    assert nvidia == own | set(NVIDIA_ATTRIBUTES)


def test_every_capacity_is_described_and_no_other() -> None:
    own = {name for device in devices(Naming.OWN) for name in device.capacity or {}}
    nvidia = {name for device in devices(Naming.NVIDIA) for name in device.capacity or {}}

    assert own == set(CAPACITIES)
    assert {re.sub(r"\d+$", "<N>", name) for name in nvidia} == own | set(NVIDIA_CAPACITIES)
