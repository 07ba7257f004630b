"""Opaque configuration addressed to our driver: read strictly, applied when a claim is prepared.

A claim or a class may carry

    config:
      - requests: [gpu]
        opaque:
          driver: gpu.dra-operator.io
          parameters:
            apiVersion: gpu.dra-operator.io/v1alpha1
            kind: GpuConfig
            env: {NCCL_DEBUG: INFO}

`env` are variables of the containers that get the devices. What a claim says comes after what its class says, and the
later one counts. Anything else in there is an error, also a field that another version may know: whoever wrote it
wanted something that would not happen. Configuration for other drivers is theirs.

Upstream: `DeviceAllocationConfiguration` of k8s.io/api/resource/v1; the API server never looks into it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from dra_operator.agent.allocated import AllocatedDevice
from dra_operator.api.codec import decode
from dra_operator.api.names import DEFAULT_DRIVER
from dra_operator.api.resource import DeviceAllocationConfiguration

API_VERSION: Final = f"{DEFAULT_DRIVER}/v1alpha1"
KIND: Final = "GpuConfig"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ConfigError(ValueError):
    """The configuration is not what this driver takes; the message says which one, and what it takes."""


class GpuConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    api_version: Literal["gpu.dra-operator.io/v1alpha1"]
    kind: Literal["GpuConfig"]
    env: dict[str, str] = {}


class _TypeMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    api_version: str = ""
    kind: str = ""


class RequestedConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration, and the requests that it is for: all of them if none is named."""

    requests: tuple[str, ...]
    config: GpuConfig

    def concerns(self, allocated: AllocatedDevice) -> bool:
        return not self.requests or any(request in self.requests for request in allocated.requests)


def read_configs(configs: Sequence[DeviceAllocationConfiguration], driver: str) -> list[RequestedConfig]:
    """Those for `driver`, the classes' before the claim's. Raises ConfigError."""
    found = []
    for source, place in (("FromClass", "the class"), ("FromClaim", "the claim")):
        for config in configs:
            if config.source == source and config.opaque is not None and config.opaque.driver == driver:
                requests = tuple(request.partition("/")[0] for request in config.requests or ())
                found.append(RequestedConfig(requests=requests, config=_read(config.opaque.parameters, place)))
    return found


def env_of(configs: Sequence[RequestedConfig], allocated: AllocatedDevice) -> tuple[str, ...]:
    """The variables that the configurations give the containers of a device."""
    return tuple(
        f"{name}={value}"
        for requested in configs
        if requested.concerns(allocated)
        for name, value in sorted(requested.config.env.items())
    )


def _read(parameters: msgspec.Raw, place: str) -> GpuConfig:
    try:
        head = decode(parameters, _TypeMeta)
        if (head.api_version, head.kind) != (API_VERSION, KIND):
            raise ConfigError(
                f"opaque configuration of {place}: apiVersion {head.api_version!r}, kind {head.kind!r}: "
                f"this driver takes {API_VERSION} {KIND}"
            )
        config = decode(parameters, GpuConfig)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"opaque configuration of {place}: {error}") from error
    for name, value in config.env.items():
        if _NAME.fullmatch(name) is None:
            raise ConfigError(f"opaque configuration of {place}: env {name!r} is no name of a variable")
        if "\0" in value:
            raise ConfigError(f"opaque configuration of {place}: env {name}: a value cannot hold a NUL")
    return config
