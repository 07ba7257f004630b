"""Objects of resource.k8s.io/v1beta1 and v1beta2 as v1 has them.

v1beta2 differs from v1 in nothing that is read here. v1beta1 has the fields of `exactly` in the request itself, and
those of a device under `basic`.

Upstream: k8s.io/kubernetes/pkg/apis/resource/v1beta1 (conversion.go).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Plain: TypeAlias = dict[str, Any]

_OF_EXACTLY: Final = (
    "deviceClassName",
    "selectors",
    "allocationMode",
    "count",
    "adminAccess",
    "tolerations",
    "capacity",
    "derivedAttributes",
)


def to_v1(kind: str, object_: Plain) -> Plain:
    """The v1beta1 object as v1 says it. What has another shape than the API allows is left as it is."""
    change = _CHANGES.get(kind)
    return object_ if change is None else change(object_)


def _claim(object_: Plain) -> Plain:
    return _within(object_, "spec", _claim_spec)


def _template(object_: Plain) -> Plain:
    return _within(object_, "spec", lambda outer: _within(outer, "spec", _claim_spec))


def _claim_spec(spec: Plain) -> Plain:
    return _within(spec, "devices", lambda devices: _each(devices, "requests", _request))


def _request(request: Plain) -> Plain:
    exactly = {name: request[name] for name in _OF_EXACTLY if name in request}
    if not exactly or "exactly" in request:
        return request
    rest = {name: value for name, value in request.items() if name not in exactly}
    return {**rest, "exactly": exactly}


def _slice(object_: Plain) -> Plain:
    return _within(object_, "spec", lambda spec: _each(spec, "devices", _device))


def _device(device: Plain) -> Plain:
    basic = device.get("basic")
    if not isinstance(basic, Mapping):
        return device
    return {**{name: value for name, value in device.items() if name != "basic"}, **basic}


def _within(object_: Plain, name: str, change: Callable[[Plain], Plain]) -> Plain:
    inner = object_.get(name)
    return {**object_, name: change(inner)} if isinstance(inner, dict) else object_


def _each(object_: Plain, name: str, change: Callable[[Plain], Plain]) -> Plain:
    items = object_.get(name)
    if not isinstance(items, list):
        return object_
    return {**object_, name: [change(item) if isinstance(item, dict) else item for item in items]}


_CHANGES: Final = {"ResourceClaim": _claim, "ResourceClaimTemplate": _template, "ResourceSlice": _slice}
