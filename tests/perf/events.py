"""How long one event takes to be taken in: a claim's allocation that comes or goes, a slice that is published anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from dra_operator.api.resource import ResourceClaim, ResourceClaimStatus, ResourceSlice
from dra_operator.lifecycle.view import View
from tests.perf.inventories import inventory

T = TypeVar("T")

EVENTS = 1_000
USED = 90


@dataclass(frozen=True)
class Event:
    """Seconds."""

    median: float
    p99: float


def measure_events(nodes: int) -> dict[str, Event]:
    """By kind of event, in a cluster of so many nodes with nine of ten GPUs in use."""
    world = inventory("gpu", nodes, USED)
    view = View()
    for node in world.nodes.values():
        view.observe_node(node)
    for slice_ in world.slices:
        view.observe_slice(slice_)
    for claim in world.allocated:
        view.observe_claim(claim, live=True)
    changing = world.allocated[:EVENTS]
    return {
        "a claim released": _measure((_released(claim) for claim in changing), _claim(view)),
        "a claim allocated": _measure((_again(claim) for claim in changing), _claim(view)),
        "a slice of 8 devices": _measure((_republished(slice_) for slice_ in world.slices[:EVENTS]), _slice(view)),
    }


def _claim(view: View) -> Callable[[ResourceClaim], object]:
    return lambda claim: view.observe_claim(claim, live=True)


def _slice(view: View) -> Callable[[ResourceSlice], object]:
    return view.observe_slice


def _measure(events: Iterable[T], take_in: Callable[[T], object]) -> Event:
    durations = []
    for event in list(events):
        start = time.perf_counter()
        take_in(event)
        durations.append(time.perf_counter() - start)
    durations.sort()
    return Event(durations[len(durations) // 2], durations[len(durations) * 99 // 100])


def _released(claim: ResourceClaim) -> ResourceClaim:
    metadata = msgspec.structs.replace(claim.metadata, resource_version="2")
    return msgspec.structs.replace(claim, metadata=metadata, status=ResourceClaimStatus())


def _again(claim: ResourceClaim) -> ResourceClaim:
    metadata = msgspec.structs.replace(claim.metadata, resource_version="3")
    return msgspec.structs.replace(claim, metadata=metadata)


def _republished(slice_: ResourceSlice) -> ResourceSlice:
    """One device fewer."""
    spec = msgspec.structs.replace(slice_.spec, devices=(slice_.spec.devices or ())[:-1])
    return msgspec.structs.replace(slice_, spec=spec)
