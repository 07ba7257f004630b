"""Settings of the controller: `dra-operator run`, and `kopf run -m dra_operator.handlers` by the environment alone.

Each field is a flag, a variable and a key of the settings file; see `settings/model.py`. Times are in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, TypeAlias

from msgspec import Meta

from dra_operator.allocation.strategy import Strategy
from dra_operator.api.names import LEASE_NAME, OPERATOR_NAMESPACE
from dra_operator.cluster.flavour import Api
from dra_operator.controller.admission.certificates import DEFAULT_LIFETIME
from dra_operator.controller.evictor import TaintEviction
from dra_operator.lifecycle.policy import ClaimsMode, OnNoCapacity, Policy, Repack
from dra_operator.settings.model import (
    Address,
    Contradiction,
    Label,
    LogFormat,
    LogLevel,
    Model,
    Seconds,
    SecondsOrNone,
    Subdomain,
)

AuthorityLifetime: TypeAlias = Annotated[
    float, Meta(ge=20.0, le=10 * DEFAULT_LIFETIME, extra={"what": "a number of seconds from 20 to ten years"})
]
"""Less, and API servers could not keep up with its replacement."""

Rate: TypeAlias = Annotated[float, Meta(ge=10.0, le=100_000.0, extra={"what": "a number from 10 to 100000"})]
"""With less the Lease, a request a second, and lists and watches would leave nothing for the rest."""
Burst: TypeAlias = Annotated[int, Meta(ge=1, le=100_000, extra={"what": "a whole number from 1 to 100000"})]


CANNOT_ADOPT = (
    "kube-controller-manager cannot generate claims where resource.k8s.io is served by custom resources; leave it at "
    "auto, and take resourceclaim-controller out of its --controllers"
)


class Gate(StrEnum):
    """How pods come to wait for their devices (`--gate`)."""

    AUTO = "auto"
    """By the admission policy where the API server has such policies (1.36 and later), otherwise by the webhook."""
    POLICY = "policy"
    WEBHOOK = "webhook"
    OFF = "off"
    """No pod is gated; kube-scheduler allocates. Claims are still generated, reserved and collected."""


class Settings(Model, frozen=True, kw_only=True):
    """See the module."""

    kubeconfig: Annotated[
        str, Meta(description="Kubeconfig file; otherwise $KUBECONFIG, the pod's own account, or ~/.kube/config.")
    ] = ""
    context: Annotated[str, Meta(description="Context of the kubeconfig.")] = ""
    api: Annotated[
        Api, Meta(description="Who serves resource.k8s.io/v1: the API server itself, or custom resources.")
    ] = Api.AUTO
    claims: Annotated[ClaimsMode, Meta(description="Who generates claims from templates.")] = ClaimsMode.AUTO
    gate: Annotated[Gate, Meta(description="How pods come to wait for their devices.")] = Gate.AUTO
    on_no_capacity: Annotated[OnNoCapacity, Meta(description="What becomes of a pod that finds no devices.")] = (
        OnNoCapacity.HOLD
    )
    handover_after: Annotated[Seconds, Meta(description="With handover: how long a pod waits first.")] = 60.0
    placement: Annotated[Strategy, Meta(description="How devices and nodes are chosen where several would do.")] = (
        Strategy.BEST_FIT
    )
    reserve_after: Annotated[
        Seconds, Meta(description="How long a pod waits for devices until a node is kept for it.")
    ] = 300.0
    repack: Annotated[Repack, Meta(description="What becomes of a pod with devices that is not scheduled.")] = (
        Repack.REPORT
    )
    repack_after: Annotated[Seconds, Meta(description="How long such a pod may stay unscheduled.")] = 300.0
    release_hold: Annotated[
        SecondsOrNone,
        Meta(description="How long a released device is not given out; of our own agent 5 s at most. 0: no time."),
    ] = 30.0
    taint_eviction: Annotated[TaintEviction, Meta(description="Who evicts pods from devices tainted NoExecute.")] = (
        TaintEviction.AUTO
    )
    namespace: Annotated[Label, Meta(description="Namespace of the operator itself: its Lease, and never gated.")] = (
        OPERATOR_NAMESPACE
    )
    leader_elect: Annotated[
        bool, Meta(description="Write only while holding the Lease. Off for an operator that is the only one.")
    ] = True
    lease_name: Annotated[Subdomain, Meta(description="Name of the Lease.")] = LEASE_NAME
    kube_api_qps: Annotated[Rate, Meta(description="Requests a second to the API server, in the long run.")] = 500.0
    kube_api_burst: Annotated[
        Burst, Meta(description="Requests that may be sent at once, if fewer were sent before.")
    ] = 1000
    sweep_interval: Annotated[Seconds, Meta(description="How often all that is not settled is looked at again.")] = 60.0
    metrics_address: Annotated[
        Address, Meta(description="host:port of /metrics, /healthz and /readyz; empty: none.")
    ] = ""
    webhook_address: Annotated[
        Address, Meta(description="host:port of the admission webhooks; empty: none are served.")
    ] = ""
    webhook_ca_lifetime: Annotated[
        AuthorityLifetime, Meta(description="How long an authority of the webhooks' certificate lives.")
    ] = DEFAULT_LIFETIME
    log_format: Annotated[LogFormat, Meta(description="Colours on a terminal, JSON elsewhere.")] = LogFormat.AUTO
    log_level: Annotated[LogLevel, Meta(description="What is logged: this and worse.")] = LogLevel.INFO

    def contradictions(self) -> Iterator[Contradiction]:
        if self.gate is Gate.WEBHOOK and not self.webhook_address:
            yield Contradiction(
                "gate", "the webhook has to be served somewhere; set webhook-address, for example to :9443"
            )
        if self.api is Api.CRD and self.claims is ClaimsMode.ADOPT:
            yield Contradiction("claims", CANNOT_ADOPT)
        if self.gate is Gate.OFF and self.on_no_capacity is OnNoCapacity.HANDOVER:
            yield Contradiction(
                "on-no-capacity",
                "with gate off no pod waits for the operator, so there is none to hand over; "
                "leave it at hold, or set gate to auto",
            )

    def policy(self) -> Policy:
        """What of this the lifecycle knows."""
        return Policy(
            claims=self.claims,
            allocates=self.gate is not Gate.OFF,
            on_no_capacity=self.on_no_capacity,
            handover_after=self.handover_after,
            reserve_after=self.reserve_after,
            repack=self.repack,
            repack_after=self.repack_after,
            operator_namespace=self.namespace,
        )
