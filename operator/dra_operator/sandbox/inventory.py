"""Which simulated nodes a sandbox has: from flags, or from a file.

    nodes:
      - {name: gpu, count: 3, profile: h100-sxm-80gb, gpus: 8, driver: gpu.example.com, labels: {zone: a}}

A group of several nodes is numbered: gpu-0, gpu-1, … With NVIDIA's driver name, devices have its attribute names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from dra_operator.agent.gpu import naming_of
from dra_operator.agent.profiles import UnknownProfileError, load_profile
from dra_operator.agent.sources import NodeDevices
from dra_operator.query.documents import InputError, read_documents

MAX_NODES: Final = 50_000
MAX_DEVICES: Final = 1_000_000
"""GPUs of all nodes."""


class InventoryError(ValueError):
    """The message names the file, the entry, and what is wrong with it."""


class NodeGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nodes that are alike. `gpus` and `driver` are the profile's unless given."""

    name: str
    profile: str
    count: int = 1
    gpus: int | None = None
    driver: str | None = None
    labels: dict[str, str] = {}


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    nodes: tuple[NodeGroup, ...]


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """One node and what it publishes."""

    name: str
    driver: str
    content: NodeDevices
    labels: dict[str, str]


def read_inventory(file: Path) -> list[NodeGroup]:
    """Raises `InventoryError`."""
    try:
        documents = list(read_documents([file]))
    except InputError as error:
        raise InventoryError(str(error)) from error
    if len(documents) != 1:
        raise InventoryError(f'{file}: has to be one document, with "nodes:"')
    try:
        return parse_groups(documents[0].content)
    except InventoryError as error:
        raise InventoryError(f"{file}: {error}") from error


def parse_groups(content: Any) -> list[NodeGroup]:
    """The groups of a file that is read already. Raises `InventoryError`."""
    try:
        groups = list(msgspec.convert(content, _File).nodes)
    except msgspec.ValidationError as error:
        raise InventoryError(str(error)) from error
    for group in groups:
        if group.count < 0 or (group.gpus or 0) < 0:
            raise InventoryError(f"node group {group.name!r}: count and gpus must not be negative")
    return groups


def expand(groups: list[NodeGroup]) -> list[SimulatedNode]:
    """The nodes of all groups. Raises `InventoryError` for an unknown profile, a name used twice, or too much."""
    if sum(group.count for group in groups) > MAX_NODES:
        raise InventoryError(f"more than {MAX_NODES:,} nodes")
    devices = 0
    nodes: list[SimulatedNode] = []
    for group in groups:
        try:
            profile = load_profile(group.profile)
        except UnknownProfileError as error:
            raise InventoryError(f"node group {group.name!r}: {error}") from error
        devices += group.count * (profile.gpus if group.gpus is None else group.gpus)
        if devices > MAX_DEVICES:
            raise InventoryError(f"node group {group.name!r}: more than {MAX_DEVICES:,} devices")
        driver = group.driver or profile.driver
        for index in range(group.count):
            name = group.name if group.count == 1 else f"{group.name}-{index}"
            content = profile.devices_of(name, group.gpus, naming_of(driver))
            nodes.append(SimulatedNode(name, driver, content, dict(group.labels)))
    names = [node.name for node in nodes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InventoryError(f"node names are used twice: {', '.join(twice)}")
    return nodes
