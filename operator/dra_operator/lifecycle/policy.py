"""What an administrator chooses about the lifecycle of claims; everything else is fixed by the rules."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ClaimsMode(StrEnum):
    """Who generates claims from templates (`--claims`)."""

    AUTO = "auto"
    """Whoever does: kube-controller-manager's are waited for a while, as long as it has not turned out that it makes
    none."""
    GENERATE = "generate"
    """This operator; kube-controller-manager runs without its resourceclaim-controller."""
    ADOPT = "adopt"
    """kube-controller-manager; this operator waits for its claims."""


class OnNoCapacity(StrEnum):
    """What becomes of a gated pod that finds no devices (`--on-no-capacity`)."""

    HOLD = "hold"
    """It stays gated until there are some."""
    HANDOVER = "handover"
    """It is ungated unallocated, so that kube-scheduler and an autoscaler see it."""


class Repack(StrEnum):
    """What becomes of a pod that was given devices and then does not get scheduled (`--repack`)."""

    REPORT = "report"
    EVICT = "evict"


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of the lifecycle. Times are in seconds."""

    claims: ClaimsMode = ClaimsMode.GENERATE
    allocates: bool = True
    """Off with `--gate=off`: kube-scheduler gives out all devices, and a pod that is gated all the same is let go."""
    on_no_capacity: OnNoCapacity = OnNoCapacity.HOLD
    handover_after: float = 60.0
    reserve_after: float = 300.0
    """How long a pod waits until a node is kept for it."""
    repack: Repack = Repack.REPORT
    repack_after: float = 300.0
    condition_interval: float = 60.0
    """A condition's message alone (same reason) is rewritten at most this often."""
    confirm_timeout: float = 5.0
    """How long to wait for our own write to come back through the watch before looking again."""
    conflict_retry: float = 1.0
    operator_namespace: str = "dra-operator"
