"""DeviceTaintRules: taints that an admin gives to devices which are not theirs to publish.

A rule adds its taint to every device that its selector names, behind the taints that the driver published; what the
selector leaves out it takes as "any". A rule without a selector names no device. Several rules add up, by name.

Invariant: a slice that no rule names is handed back as it is, not copied.

Upstream: `applyPatches` of k8s.io/dynamic-resource-allocation/resourceslice/tracker. Not here: what a taint does
(`allocation/taints.py`), and evicting pods (`lifecycle/eviction.py`).
"""

from __future__ import annotations

from msgspec import structs

from dra_operator.api.resource import DeviceTaintRule, ResourceSlice


class TaintRules:
    """See the module."""

    def __init__(self) -> None:
        self._rules: dict[str, DeviceTaintRule] = {}

    def names(self) -> list[str]:
        return list(self._rules)

    def get(self, name: str) -> DeviceTaintRule | None:
        return self._rules.get(name)

    def put(self, rule: DeviceTaintRule) -> None:
        self._rules[rule.metadata.name] = rule
        self._rules = dict(sorted(self._rules.items()))

    def remove(self, name: str) -> None:
        self._rules.pop(name, None)

    def taint(self, slice_: ResourceSlice) -> ResourceSlice:
        """The slice with the taints that the rules add."""
        for rule in self._rules.values():
            if names_pool(rule, slice_):
                slice_ = _add(rule, slice_)
        return slice_


def names_pool(rule: DeviceTaintRule, slice_: ResourceSlice) -> bool:
    """Whether the rule may name devices of the slice."""
    selector = rule.spec.device_selector
    return (
        selector is not None
        and selector.driver in (None, slice_.spec.driver)
        and selector.pool in (None, slice_.spec.pool.name)
    )


def _add(rule: DeviceTaintRule, slice_: ResourceSlice) -> ResourceSlice:
    selector = rule.spec.device_selector
    wanted = None if selector is None else selector.device
    devices = slice_.spec.devices or ()
    tainted = tuple(
        structs.replace(device, taints=(*(device.taints or ()), rule.spec.taint))
        if wanted in (None, device.name)
        else device
        for device in devices
    )
    if all(new is old for new, old in zip(tainted, devices, strict=True)):
        return slice_
    return structs.replace(slice_, spec=structs.replace(slice_.spec, devices=tainted))
