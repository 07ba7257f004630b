"""Settings of the controller: every flag of `dra-operator run` is also an environment variable.

`DRA_OPERATOR_<FLAG>` in capitals with underscores; that is how `kopf run -m dra_operator.handlers` gets them.
Refused with the name of the setting and what it may be.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from dra_operator.allocation.strategy import Strategy
from dra_operator.api.names import LEASE_NAME, OPERATOR_NAMESPACE
from dra_operator.controller.evictor import TaintEviction
from dra_operator.lifecycle.policy import ClaimsMode, OnNoCapacity, Policy, Repack

PREFIX = "DRA_OPERATOR_"


class SettingError(ValueError):
    """A setting that cannot be; the message names it and what it may be."""


class LogFormat(StrEnum):
    AUTO = "auto"
    """Colours on a terminal, JSON elsewhere."""
    JSON = "json"
    CONSOLE = "console"


class Gate(StrEnum):
    """How pods come to wait for their devices (`--gate`)."""

    AUTO = "auto"
    """The admission policy where the API server has it."""
    POLICY = "policy"
    OFF = "off"
    """No pod is gated; kube-scheduler allocates. Claims are still generated, reserved and collected."""


def _setting(default: Any, help_: str) -> Any:
    return field(default=default, metadata={"help": help_})


@dataclass(frozen=True, slots=True)
class Settings:
    """See the module. Times are in seconds."""

    kubeconfig: str = _setting("", "kubeconfig file; otherwise $KUBECONFIG, the pod's own account, or ~/.kube/config")
    context: str = _setting("", "context of the kubeconfig")
    claims: ClaimsMode = _setting(ClaimsMode.AUTO, "who generates claims from templates")
    gate: Gate = _setting(Gate.AUTO, "how pods come to wait for their devices")
    on_no_capacity: OnNoCapacity = _setting(OnNoCapacity.HOLD, "what becomes of a pod that finds no devices")
    handover_after: float = _setting(60.0, "with --on-no-capacity=handover: how long a pod waits first")
    placement: Strategy = _setting(Strategy.BEST_FIT, "how devices and nodes are chosen where several would do")
    reserve_after: float = _setting(300.0, "how long a pod waits for devices until a node is kept for it")
    repack: Repack = _setting(Repack.REPORT, "what becomes of a pod with devices that is not scheduled")
    repack_after: float = _setting(300.0, "how long such a pod may stay unscheduled")
    release_hold: float = _setting(
        30.0, "how long a released device is not given out, unless our own agent says when it is free"
    )
    taint_eviction: TaintEviction = _setting(TaintEviction.AUTO, "who evicts pods from devices tainted NoExecute")
    namespace: str = _setting(OPERATOR_NAMESPACE, "namespace of the operator itself: its Lease, and never gated")
    leader_elect: bool = _setting(True, "write only while holding the Lease")
    lease_name: str = _setting(LEASE_NAME, "name of the Lease")
    sweep_interval: float = _setting(60.0, "how often everything is looked at again")
    metrics_address: str = _setting("", "host:port of /metrics, /healthz and /readyz; empty: none")
    log_format: LogFormat = _setting(LogFormat.AUTO, "colours on a terminal, JSON elsewhere")
    log_level: str = _setting("info", "debug, info, warning or error")

    def policy(self) -> Policy:
        """What of this the lifecycle knows."""
        return Policy(
            claims=self.claims,
            on_no_capacity=self.on_no_capacity,
            handover_after=self.handover_after,
            reserve_after=self.reserve_after,
            repack=self.repack,
            repack_after=self.repack_after,
            operator_namespace=self.namespace,
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """Flags that are `given` (not None) first, then the environment, then defaults."""
        env = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        known = {PREFIX + one.name.upper() for one in fields(cls)}
        for one in fields(cls):
            value = given.get(one.name)
            if value is None:
                value = env.get(PREFIX + one.name.upper())
            if value is not None:
                values[one.name] = _parse(one.name, value, one.default)
        for name in env:
            if name.startswith(PREFIX) and name not in known and not name.startswith(_FOREIGN):
                raise SettingError(f"{name} is no setting of the operator; there are {', '.join(sorted(known))}")
        return cls(**values)


_FOREIGN = (PREFIX + "CONTROLPLANE_", PREFIX + "SANDBOX_")
"""Variables of other commands that share the prefix."""


_MAY_BE_ZERO = frozenset({"release_hold"})


def _parse(name: str, value: Any, default: Any) -> Any:
    flag = "--" + name.replace("_", "-")
    if isinstance(default, bool):
        words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        parsed = value if isinstance(value, bool) else words.get(str(value).lower())
        if parsed is None:
            raise SettingError(f"{flag}: {value!r} is neither true nor false")
        return parsed
    if isinstance(default, StrEnum):
        try:
            return type(default)(value)
        except ValueError as error:
            choices = ", ".join(member.value for member in type(default))
            raise SettingError(f"{flag}: {value!r} is none of {choices}") from error
    if isinstance(default, float):
        try:
            seconds = float(value)
        except ValueError as error:
            raise SettingError(f"{flag}: {value!r} is no number of seconds") from error
        if not 0 <= seconds < float("inf") or (seconds == 0 and name not in _MAY_BE_ZERO):
            raise SettingError(f"{flag}: {value!r} is not a positive number of seconds")
        return seconds
    return str(value)
