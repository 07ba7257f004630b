"""Where a node's devices come from.

A source answers one question, which devices this node has now, as a slice lists them. The agent asks it and publishes
the answer; it does not know whether real GPUs or a file stand behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dra_operator.api.resource import BasicDevice, CounterSet


@dataclass(frozen=True, slots=True)
class NodeDevices:
    """The devices of a node in a stable order, and what those of them share that are partitions of one GPU."""

    devices: tuple[BasicDevice, ...] = ()
    shared_counters: tuple[CounterSet, ...] = ()


class SourceError(Exception):
    """The source cannot say what there is. What it said last stands."""


class Source(Protocol):
    """The devices of one node."""

    def read(self) -> NodeDevices:
        """All devices. Reads anew on each call, and may block. Raises SourceError."""
        ...
