"""What can be wrong with a device, as a source sees it. Every kind of trouble is made here, with its weight.

A sign names whom it is about, why, and how bad it is; it is data, and decides nothing. How many looks in a row it takes
until trouble counts and how long it counts after it was last seen are its own, for the kinds differ: a GPU that fell
off the bus is gone at once, one look at a hot one proves nothing, and an Xid is an event that is never seen twice.

Xids: those that a faulty program causes say nothing about the GPU. The list is that of NVIDIA's device plugin and DRA
driver; what the others mean: docs.nvidia.com/deploy/xid-errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

XIDS_OF_PROGRAMS: Final = frozenset({13, 31, 43, 45, 68, 109})

SETTLED_SECONDS: Final = 30.0
"""Trouble that is gone may come back: it counts that much longer."""
XID_SECONDS: Final = 600.0
TRANSIENT_LOOKS: Final = 2


class Severity(StrEnum):
    """What a sign means for the device."""

    DEGRADED = "degraded"
    """Nothing new may come; who uses it may finish."""
    LOST = "lost"
    """Whoever uses it works no more."""


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that is wrong with one GPU or partition, or several at once under one target."""

    target: str
    """Uuid of the GPU (its partitions are meant too) or of a partition, or a device's name."""
    reason: str
    """One word for it, fit for the value of a taint."""
    message: str
    severity: Severity = Severity.DEGRADED
    looks: int = 1
    """In so many looks in a row it must be seen before it counts."""
    lasts: float = SETTLED_SECONDS
    """Seconds that it counts after it was last seen."""
    renews: bool = False
    """Not enough to begin with, but what had begun goes on: hysteresis of a threshold."""


def gpu_lost(target: str) -> Sign:
    return Sign(target, "gpu-lost", "the GPU has fallen off the bus", Severity.LOST)


def xid(target: str, number: int) -> Sign | None:
    """None where the fault is the program's."""
    if number in XIDS_OF_PROGRAMS:
        return None
    if number == _FALLEN_OFF_THE_BUS:
        return Sign(target, f"xid-{number}", f"Xid {number}", Severity.LOST, lasts=XID_SECONDS)
    return Sign(target, f"xid-{number}", f"Xid {number}", lasts=XID_SECONDS)


_FALLEN_OFF_THE_BUS: Final = 79


def ecc_uncorrectable(target: str, errors: int) -> Sign:
    return Sign(target, "ecc-uncorrectable", f"{errors} uncorrectable ECC errors since the driver was loaded")


def row_remap_failed(target: str) -> Sign:
    return Sign(target, "row-remap-failed", "memory rows could not be remapped: the GPU has to be replaced")


def row_remap_pending(target: str) -> Sign:
    return Sign(target, "row-remap-pending", "memory rows are to be remapped: the GPU has to be reset")


def needs_reset(target: str, action: str) -> Sign:
    return Sign(target, "needs-recovery", f"the driver asks for recovery: {action}")


def overheated(target: str, celsius: int, limit: int) -> Sign | None:
    """None while it is cool. Between the limit and five degrees below, what had begun goes on."""
    if celsius < limit - _COOLER_BY:
        return None
    message = f"{celsius} °C; it slows down at {limit} °C"
    return Sign(target, "overheated", message, looks=TRANSIENT_LOOKS, renews=celsius < limit)


_COOLER_BY: Final = 5


def throttled_by_hardware(target: str, why: str) -> Sign:
    return Sign(target, "hardware-slowdown", f"the hardware slows it down: {why}", looks=TRANSIENT_LOOKS)


def unreadable(target: str, error: str) -> Sign:
    return Sign(target, "unreadable", f"the GPU does not answer: {error}", looks=TRANSIENT_LOOKS)


def driver_unavailable(target: str, error: str) -> Sign:
    return Sign(target, "driver-unavailable", f"the driver does not answer: {error}", looks=TRANSIENT_LOOKS)
