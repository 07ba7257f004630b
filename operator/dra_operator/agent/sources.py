"""Where a node's devices come from.

A source says which devices this node has now, as a slice lists them, and what is wrong with them. The agent asks it and
publishes the answers; it does not know whether real GPUs or a file stand behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from dra_operator.agent.injection import Injector
from dra_operator.agent.signs import Sign
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

    def signs(self) -> tuple[Sign, ...]:
        """All that is wrong with the devices now. May block. Raises SourceError."""
        ...

    def wait(self, seconds: float) -> tuple[Sign, ...] | None:
        """Blocks until something happens that calls for a look, and says what; None if nothing did for so long."""
        ...

    @property
    def injector(self) -> Injector:
        """What its devices change in a container."""
        ...

    def attach(self, made: Callable[[], Collection[str]]) -> None:
        """`made` names the devices that the agent made for claims: they are listed as if nobody had."""
        ...

    @property
    def incarnation(self) -> object:
        """Another one when the devices were set up anew (the driver was loaded again): old trouble is over."""
        ...
