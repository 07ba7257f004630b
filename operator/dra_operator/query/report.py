"""What a simulation came to, as `simulate` prints it: who got what, who waits and why.

The structs are the JSON: `dra-operator.io/v1`, kind `Simulation`. Pods that ask for no devices are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from dra_operator.api.core import Pod, PodResourceClaim
from dra_operator.api.names import DEVICES_ALLOCATED, POD_CLAIM_NAME_ANNOTATION
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import DeviceClass, ResourceClaim, ResourceClaimTemplate
from dra_operator.lifecycle.consumers import allocated_sentence
from dra_operator.query.objects import Refused
from dra_operator.world.simulation import Simulation, Standing

State: TypeAlias = Literal["Allocated", "Waiting", "Rejected"]
REJECTED: Final = frozenset(
    {Reason.REQUEST_INVALID, Reason.SELECTOR_INVALID, Reason.ADMIN_ACCESS_DENIED, Reason.CLAIM_CREATION_REFUSED}
)
"""The API server refuses such objects: waiting helps nothing."""


class Struct(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All fields are always there."""


class DeviceReport(Struct, frozen=True):
    request: str
    driver: str
    pool: str
    device: str
    admin_access: bool


class ClaimReport(Struct, frozen=True):
    name: str | None
    """None if the claim was never generated."""
    template: str | None
    results: tuple[DeviceReport, ...]

    @classmethod
    def of(cls, entry: PodResourceClaim, claim: ResourceClaim | None) -> ClaimReport:
        """The claim of one entry of `spec.resourceClaims`, or that there is none."""
        return cls(
            name=entry.resource_claim_name or (None if claim is None else claim.metadata.name),
            template=entry.resource_claim_template_name,
            results=() if claim is None else results_of(claim),
        )


class ReasonReport(Struct, frozen=True):
    code: str
    message: str


class PodReport(Struct, frozen=True):
    namespace: str
    name: str
    node: str | None
    state: State
    reason: ReasonReport
    claims: tuple[ClaimReport, ...]


class Summary(Struct, frozen=True):
    allocated: int
    waiting: int
    rejected: int


class SimulationReport(Struct, frozen=True, kw_only=True):
    api_version: str = "dra-operator.io/v1"
    kind: str = "Simulation"
    pods: tuple[PodReport, ...]
    summary: Summary


def report_on(simulation: Simulation, refused: Sequence[Refused] = ()) -> SimulationReport:
    """All pods that ask for devices, in the order in which they came. `refused`: what the API server would not take."""
    pods = sorted(
        (pod for pod in simulation.view.pods.values() if pod.spec.resource_claims and not pod.terminal),
        key=lambda pod: simulation.order_of(pod.uid),
    )
    reports = tuple(_pod(simulation, pod, refused) for pod in pods)
    reports += tuple(_refused_pod(one) for one in refused if one.type is Pod)
    states = [one.state for one in reports]
    summary = Summary(
        allocated=states.count("Allocated"), waiting=states.count("Waiting"), rejected=states.count("Rejected")
    )
    return SimulationReport(pods=reports, summary=summary)


def _pod(simulation: Simulation, pod: Pod, refused: Sequence[Refused]) -> PodReport:
    standing, claims = standing_of(simulation, pod, refused), claims_of(simulation, pod)
    return PodReport(
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        node=pod.spec.node_name or None,
        state=state_of(standing.reason),
        reason=ReasonReport(code=standing.reason.value, message=standing.message),
        claims=tuple(ClaimReport.of(entry, claims[entry.name]) for entry in pod.spec.resource_claims or ()),
    )


def _refused_pod(one: Refused) -> PodReport:
    return PodReport(
        namespace=one.key.namespace,
        name=one.key.name,
        node=None,
        state=state_of(one.reason),
        reason=ReasonReport(code=one.reason.value, message=one.message),
        claims=(),
    )


def standing_of(simulation: Simulation, pod: Pod, refused: Sequence[Refused] = ()) -> Standing:
    """Why the pod stands where it stands, also if the operator has nothing to say about it."""
    told = simulation.standing.get(pod.uid)
    if told is not None:
        return _of_refused(pod, told, refused) or told
    written = pod.condition(DEVICES_ALLOCATED)
    if written is not None and written.reason == Reason.UNSCHEDULABLE_AFTER_PIN and not pod.spec.node_name:
        return Standing(Reason.UNSCHEDULABLE_AFTER_PIN, written.message)
    claims = simulation.claims_of(pod)
    entries = pod.spec.resource_claims or ()
    if entries and all(entry.name in claims and claims[entry.name].status.allocation is not None for entry in entries):
        return Standing(Reason.ALLOCATED, allocated_sentence(list(claims.values())))
    if pod.spec.node_name:
        why = f'bound to node "{pod.spec.node_name}" without devices, which nobody looks for any more'
        return Standing(Reason.NOT_MANAGED, f"{why}; use a nodeSelector where the pod's spec says nodeName itself")
    return Standing(Reason.NOT_MANAGED, "left to kube-scheduler")


def _of_refused(pod: Pod, told: Standing, refused: Sequence[Refused]) -> Standing | None:
    """What is not there because the API server would refuse it is not missing: it is wrong."""
    if told.reason not in (Reason.TEMPLATE_NOT_FOUND, Reason.CLAIM_NOT_FOUND, Reason.CLASS_NOT_FOUND):
        return None
    names = {name for entry in pod.spec.resource_claims or () if (name := entry.resource_claim_name)}
    templates = {name for entry in pod.spec.resource_claims or () if (name := entry.resource_claim_template_name)}
    for one in refused:
        own = one.key.namespace == pod.metadata.namespace
        if (
            (one.type is ResourceClaim and own and one.key.name in names)
            or (one.type is ResourceClaimTemplate and own and one.key.name in templates)
            or (one.type is DeviceClass and f'DeviceClass "{one.key.name}" does not exist' in told.message)
        ):
            return Standing(one.reason, one.message)
    return None


def state_of(reason: Reason) -> State:
    """What the code means for the pod."""
    if reason in (Reason.ALLOCATED, Reason.UNSCHEDULABLE_AFTER_PIN):
        return "Allocated"
    return "Rejected" if reason in REJECTED else "Waiting"


def claims_of(simulation: Simulation, pod: Pod) -> dict[str, ResourceClaim | None]:
    """The pod's claims by entry, those included that its status does not name yet; None where there is none."""
    found: dict[str, ResourceClaim | None] = {entry.name: None for entry in pod.spec.resource_claims or ()}
    found |= simulation.claims_of(pod)
    for claim in simulation.view.claims_owned_by(pod.uid):
        entry = claim.metadata.annotation(POD_CLAIM_NAME_ANNOTATION)
        if entry in found and found[entry] is None:
            found[entry] = claim
    return found


def results_of(claim: ResourceClaim) -> tuple[DeviceReport, ...]:
    allocation = claim.status.allocation
    return tuple(
        DeviceReport(
            request=one.request,
            driver=one.driver,
            pool=one.pool,
            device=one.device,
            admin_access=one.admin_access is True,
        )
        for one in (() if allocation is None else allocation.devices.results or ())
    )
