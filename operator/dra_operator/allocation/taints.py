"""Device taints: which keep a device from a request.

NoSchedule and NoExecute block unless tolerated; None and unknown effects do not. An empty effect tolerates all
effects, an empty key all keys, an empty operator means Equal. `tolerationSeconds` only matters once a pod runs.

Upstream: `taintTolerated` and `resourceapi.ToleratesTaint`.
"""

from __future__ import annotations

from collections.abc import Iterable

from dra_operator.api.resource import DeviceTaint, DeviceToleration

_BLOCKING = frozenset({"NoSchedule", "NoExecute"})


def find_blocking_taint(taints: Iterable[DeviceTaint], tolerations: Iterable[DeviceToleration]) -> DeviceTaint | None:
    """The first taint that keeps the device away, if any."""
    tolerations = tuple(tolerations)
    for taint in taints:
        if taint.effect in _BLOCKING and not any(tolerates(toleration, taint) for toleration in tolerations):
            return taint
    return None


def tolerates(toleration: DeviceToleration, taint: DeviceTaint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator in ("", "Equal"):
        return toleration.value == taint.value
    return toleration.operator == "Exists"
