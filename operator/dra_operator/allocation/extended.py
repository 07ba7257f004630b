"""Extended resources that are devices: `resources.requests` which kube-scheduler serves with a claim that it makes.

A DeviceClass stands for the resource that its `extendedResourceName` says, and for one that is called after it. On a
node that offers none of such a resource by itself (by a device plugin), kube-scheduler allocates devices of the class.

Upstream: `ExtendedResourceCache` of k8s.io/dynamic-resource-allocation, `shouldDelegateResourceToDRA` of the plugin
noderesources. Not here: the allocation, which is kube-scheduler's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from dra_operator.api.names import DEVICE_CLASS_RESOURCE_PREFIX
from dra_operator.api.resource import DeviceClass

NONE: Final[frozenset[str]] = frozenset()


def backed_by_devices(resources: Iterable[str], classes: Mapping[str, DeviceClass]) -> frozenset[str]:
    """Those of the resources that a class stands for."""
    if not (extended := [name for name in resources if "/" in name]):
        return NONE  # nearly every pod: classes are not looked at
    named = {one.spec.extended_resource_name for one in classes.values()}
    return frozenset(name for name in extended if name in named or _is_called_after_one(name, classes))


def _is_called_after_one(resource: str, classes: Mapping[str, DeviceClass]) -> bool:
    class_name = resource.removeprefix(DEVICE_CLASS_RESOURCE_PREFIX)
    return class_name != resource and class_name in classes
