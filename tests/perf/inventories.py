"""Clusters and requests that decisions are measured on.

`inventory(kind, nodes, used)` builds nodes with eight GPUs each, of which `used` percent are held by claims of one
device each, chosen at random with a fixed seed. Kinds: `gpu` (whole GPUs of two models on two sockets), `mig` (each GPU
whole or in halves, by shared counters), `shared` (GPUs whose memory is handed out in shares).

`ASKS` are the pods that are measured, by row of the table, each with the kind of inventory that it is asked of.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from dra_operator.api.core import Node
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import (
    BasicDevice,
    CapacityRequestPolicy,
    CapacityRequestPolicyRange,
    DeviceAttribute,
    DeviceCapacity,
    DeviceClass,
    ResourceClaim,
    ResourceSlice,
)
from tests.builders import (
    DRIVER,
    allocated,
    attribute,
    claim,
    classes,
    device,
    device_class,
    exactly,
    first_available,
    match_attribute,
    node,
    request,
    result,
    slice_of,
)

GPUS: Final = 8
SEED: Final = 1
SOCKET: Final = f"{DRIVER}/socket"
_ATTRIBUTES: Final = f"device.attributes['{DRIVER}']"
_A100: Final = f"{_ATTRIBUTES}.model == 'A100'"
_BIG: Final = f"device.capacity['{DRIVER}'].memory.compareTo(quantity('40Gi')) >= 0"


@dataclass(frozen=True)
class Ask:
    """What a row of the table measures: a pod's claims, on which kind of inventory, by which classes."""

    kind: str
    claims: tuple[ResourceClaim, ...]


ASKS: Final[Mapping[str, Ask]] = {
    "simple": Ask("gpu", (claim(request("gpu", _A100, _BIG)),)),
    "match": Ask("gpu", (claim(request("gpu", _A100, count=4), constraints=[match_attribute(SOCKET)]),)),
    "mig": Ask("mig", (claim(request("half", f"{_ATTRIBUTES}.type == 'mig'")),)),
    "first-available": Ask(
        "gpu",
        (
            claim(
                first_available(
                    "gpu",
                    eight=exactly(f"{_ATTRIBUTES}.model == 'H100'", count=8),
                    four=exactly(_A100, count=4),
                    one=exactly(_BIG),
                )
            ),
        ),
    ),
    "all": Ask("gpu", (claim(request("gpu", f"{_A100} && {_ATTRIBUTES}.index < 2", mode="All")),)),
    "capacity": Ask("shared", (claim(request("share", capacity={"memory": "10Gi"})),)),
}


@dataclass(frozen=True)
class World:
    """A cluster as both allocators are shown it."""

    id: str
    nodes: Mapping[str, Node]
    slices: Sequence[ResourceSlice]
    classes: Mapping[str, DeviceClass]
    allocated: Sequence[ResourceClaim]


@cache
def _published(kind: str, nodes: int) -> tuple[dict[str, Node], list[ResourceSlice]]:
    named = {f"node-{number:05}": node(f"node-{number:05}") for number in range(nodes)}
    return named, [slice_ for number, name in enumerate(named) for slice_ in _SLICES[kind](number, name)]


def inventory(kind: str, nodes: int, used: int) -> World:
    """See the module."""
    named, slices = _published(kind, nodes)
    rng = random.Random(SEED)
    places = [(name, gpu) for name in named for gpu in range(GPUS)]
    taken = sorted(rng.sample(range(len(places)), len(places) * used // 100))
    rng.shuffle(taken)
    held = [_USERS[kind](number, *places[place]) for number, place in enumerate(taken)]
    return World(f"{kind}-{nodes}-{used}", named, slices, classes(device_class()), held)


# --- whole GPUs ------------------------------------------------------------------------------------------------------


def _facts(number: int, gpu: int, **more: str) -> dict[str, DeviceAttribute]:
    facts: dict[str, DeviceAttribute] = {
        "model": attribute("H100" if number % 3 == 2 else "A100"),
        "uuid": attribute(f"GPU-{number:05}-{gpu}"),
        "index": attribute(gpu),
        "socket": attribute(gpu * 2 // GPUS),
        "driverVersion": DeviceAttribute(version_value="580.65.6"),
        "type": attribute("gpu"),
    }
    return facts | {name: attribute(value) for name, value in more.items()}


def _device(name: str, attributes: Mapping[str, DeviceAttribute], memory: str, **more: object) -> BasicDevice:
    return BasicDevice(
        name=name,
        attributes=dict(attributes),
        capacity={
            "memory": DeviceCapacity(value=Quantity.parse(memory)),
            "multiprocessors": DeviceCapacity(value=Quantity(108)),
        },
        **more,  # type: ignore[arg-type]
    )


def _gpus(number: int, name: str) -> Iterator[ResourceSlice]:
    yield slice_of([_device(f"gpu-{gpu}", _facts(number, gpu), "80Gi") for gpu in range(GPUS)], node=name)


def _whole(number: int, name: str, gpu: int) -> ResourceClaim:
    return allocated(claim(name=f"held-{number}"), f"{name}/gpu-{gpu}", on=name)


# --- partitions ------------------------------------------------------------------------------------------------------


def _partitions(number: int, name: str) -> Iterator[ResourceSlice]:
    yield slice_of(
        node=name,
        name=f"{name}-counters",
        count=2,
        counters={f"gpu-{gpu}": {f"memory-slice-{slot}": "1" for slot in range(8)} for gpu in range(GPUS)},
    )
    yield slice_of(
        [partition for gpu in range(GPUS) for partition in _partitions_of(number, gpu)],
        node=name,
        name=f"{name}-devices",
        count=2,
    )


def _partitions_of(number: int, gpu: int) -> Iterator[BasicDevice]:
    for part, slots, memory, type_ in (
        ("whole", range(8), "80Gi", "gpu"),
        ("half-0", range(4), "40Gi", "mig"),
        ("half-1", range(4, 8), "40Gi", "mig"),
    ):
        counted = device(consumes={f"gpu-{gpu}": {f"memory-slice-{slot}": "1" for slot in slots}})
        yield _device(
            f"gpu-{gpu}-{part}",
            _facts(number, gpu, type=type_),
            memory,
            consumes_counters=counted.consumes_counters,
        )


def _half(number: int, name: str, gpu: int) -> ResourceClaim:
    """Every second one holds a whole GPU."""
    part = "whole" if number % 2 else "half-0"
    return allocated(claim(name=f"held-{number}"), f"{name}/gpu-{gpu}-{part}", on=name)


# --- shares ----------------------------------------------------------------------------------------------------------


def _shareable(number: int, name: str) -> Iterator[ResourceSlice]:
    memory = DeviceCapacity(
        value=Quantity.parse("80Gi"),
        request_policy=CapacityRequestPolicy(
            default=Quantity.parse("10Gi"),
            valid_range=CapacityRequestPolicyRange(min=Quantity.parse("5Gi"), step=Quantity.parse("5Gi")),
        ),
    )
    yield slice_of(
        [
            BasicDevice(
                name=f"gpu-{gpu}",
                attributes=_facts(number, gpu),
                capacity={"memory": memory},
                allow_multiple_allocations=True,
            )
            for gpu in range(GPUS)
        ],
        node=name,
    )


def _share(number: int, name: str, gpu: int) -> ResourceClaim:
    """Takes all that a GPU has, so that the share of GPUs in use is what the row says."""
    share = f"{number:08x}-0000-4000-8000-000000000000"
    return allocated(
        claim(name=f"held-{number}"), result(f"{name}/gpu-{gpu}", share=share, consumes={"memory": "80Gi"}), on=name
    )


_SLICES: Final = {"gpu": _gpus, "mig": _partitions, "shared": _shareable}
_USERS: Final = {"gpu": _whole, "mig": _half, "shared": _share}
