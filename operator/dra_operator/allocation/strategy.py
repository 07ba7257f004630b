"""How devices and nodes are chosen where several would do (`--placement`).

Which nodes *can* serve a claim does not depend on it, but for the few searches that upstream's own order decides.

Upstream has `first` only: devices in the order in which they are listed; kube-scheduler scores nodes, not devices.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from dra_operator.api.names import PLACEMENT_ANNOTATION
from dra_operator.api.resource import DeviceClass


class Strategy(StrEnum):
    """The value of the flag and of the annotation."""

    BEST_FIT = "best-fit"
    """The least valuable devices that satisfy, then partitions of what is broken already, then the fullest node."""
    BINPACK = "binpack"
    """The fullest node."""
    SPREAD = "spread"
    """The emptiest node."""
    FIRST = "first"
    """The first node by name, and on it the devices that kube-scheduler would choose."""


def choose_strategy(classes: Iterable[DeviceClass], default: Strategy) -> Strategy:
    """What the first class that says something says. An unknown word counts as nothing."""
    for class_ in classes:
        said = class_.metadata.annotation(PLACEMENT_ANNOTATION)
        if said is not None and said in _WORDS:
            return _WORDS[said]
    return default


_WORDS: Final = {strategy.value: strategy for strategy in Strategy}
