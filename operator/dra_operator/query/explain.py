"""Why a pod, a claim or a template stands where it stands, from a scene of live objects or of files.

The verdict is the operator's own: its core looks at the pod once more. Where the caller may not see all that the
operator sees, what the operator wrote on the pod goes first. Funnels, nearest nodes and near misses follow. What the
core would give to a pod of a cluster is not said to be given: no operator may run there, or a quota be in the way.

A claim or template that no pod waits with is explained by a pod that would name nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec import structs

from dra_operator.allocation.outcome import AllocationError
from dra_operator.api.core import Container, Pod, PodResourceClaim, PodSchedulingGate, PodSpec
from dra_operator.api.meta import Condition, Object, ObjectKey, ObjectMeta
from dra_operator.api.names import DEVICES_ALLOCATED, GATE
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ResourceClaim, ResourceClaimStatus, ResourceClaimTemplate
from dra_operator.lifecycle.gate import class_names
from dra_operator.query.documents import InputError
from dra_operator.query.funnel import AlternativeFunnel, Funnels, NodeLook, look
from dra_operator.query.misnamed import find_hints
from dra_operator.query.nearmiss import SECONDS, NearMisses
from dra_operator.query.objects import Refused
from dra_operator.query.report import (
    ClaimReport,
    ReasonReport,
    State,
    Struct,
    claims_of,
    results_of,
    standing_of,
    state_of,
)
from dra_operator.query.suggest import did_you_mean
from dra_operator.query.targets import Suggestion
from dra_operator.world.simulation import Simulation, Standing

NEAREST: Final = 3
_KINDS: Final[dict[str, type[Object]]] = {
    **dict.fromkeys(("pod", "pods", "po"), Pod),
    **dict.fromkeys(("claim", "claims", "resourceclaim", "resourceclaims"), ResourceClaim),
    **dict.fromkeys(
        ("template", "templates", "resourceclaimtemplate", "resourceclaimtemplates"), ResourceClaimTemplate
    ),
}


_EXPLAINED: Final = "write pod/, claim/ or template/"
_MAKES_PODS: Final = frozenset(
    {"deployment", "deploy", "replicaset", "rs", "statefulset", "sts", "daemonset", "ds", "job", "cronjob", "cj"}
)


class SelectorReport(Struct, frozen=True, kw_only=True):
    owner: str
    expression: str
    left: int
    errors: int
    error: str | None


class FunnelReport(Struct, frozen=True, kw_only=True):
    """Devices left after each hurdle; `free` is what is left after all of them."""

    published: int
    in_class: int
    matching: int
    in_use: int
    tainted: int
    without_capacity: int
    without_counters: int
    free: int
    most_free_on_one_node: int


class AlternativeReport(Struct, frozen=True, kw_only=True):
    name: str
    device_class: str
    wanted: int | None
    """None: all devices."""
    selectors: tuple[SelectorReport, ...]
    funnel: FunnelReport


class RequestReport(Struct, frozen=True, kw_only=True):
    claim: str
    request: str
    alternatives: tuple[AlternativeReport, ...]


class NodeReport(Struct, frozen=True, kw_only=True):
    name: str
    lacks: tuple[str, ...]


class Explanation(Struct, frozen=True, kw_only=True):
    api_version: str = "dra-operator.io/v1"
    kind: str = "Explanation"
    namespace: str
    name: str
    node: str | None
    state: State
    reason: ReasonReport
    claims: tuple[ClaimReport, ...]
    requests: tuple[RequestReport, ...]
    nearest_nodes: tuple[NodeReport, ...]
    hints: tuple[str, ...]
    """Names that nothing has, and those that exist and are like them."""
    suggestions: tuple[Suggestion, ...]
    unseen: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be explained."""

    pod: Pod
    remark: str = ""
    """Why it is another object than the caller named."""
    stands_in: bool = False
    """Nobody created the pod: it is there for this explanation only."""


def find_subject(simulation: Simulation, text: str, namespace: str, refused: Sequence[Refused] = ()) -> Subject:
    """`[pod/|claim/|template/]NAME`, the name with `NAMESPACE/` before it or not. Raises `InputError`."""
    type_, key = _parse(text, namespace, simulation.view.namespaces)
    found = simulation.store.get(type_, key)
    if found is None:
        for one in refused:
            if one.type is type_ and one.key == key:
                raise InputError(f"{one.place}: the API server would refuse this: {one.message}")
        raise InputError(_missing(simulation, type_, key))
    if isinstance(found, Pod):
        if not found.spec.resource_claims:
            raise InputError(f'pod "{key}" asks for no devices: it has no spec.resourceClaims')
        return Subject(found)
    waiting = _user_of(simulation, found)
    if waiting is not None:
        return Subject(waiting, f'by pod "{waiting.key}", which names it')
    return Subject(_stand_in(simulation, found), "by a pod that names nothing else", stands_in=True)


def _parse(text: str, namespace: str, namespaces: Collection[str]) -> tuple[type[Object], ObjectKey]:
    """A kind and a name. Of two words the first is a kind where it is one, and otherwise a namespace."""
    first, _, name = text.partition("/")
    if not name:
        return Pod, ObjectKey(namespace, text)
    if first in _KINDS:
        inner, _, rest = name.partition("/")
        return _KINDS[first], ObjectKey(inner, rest) if rest else ObjectKey(namespace, name)
    if "/" in name:
        raise InputError(f'"{first}" is no kind that can be explained; {_EXPLAINED}')
    bare = first.partition(".")[0].lower()
    if first not in namespaces and (bare in _MAKES_PODS or bare.removesuffix("s") in _MAKES_PODS):
        raise InputError(f'"{first}" is no kind that can be explained; {_EXPLAINED}: name one of the pods it makes')
    return Pod, ObjectKey(first, name)


def _missing(simulation: Simulation, type_: type[Object], key: ObjectKey) -> str:
    kind = {Pod: "pod", ResourceClaim: "ResourceClaim"}.get(type_, "ResourceClaimTemplate")
    keys = [one.key for one in simulation.store.all(type_)]
    elsewhere = sorted({one.namespace for one in keys if one.name == key.name})
    text = f'there is no {kind} "{key.name}" in namespace "{key.namespace}"'
    if elsewhere:
        return f"{text}; there is one in {', '.join(elsewhere)}"
    return text + did_you_mean(key.name, [one.name for one in keys if one.namespace == key.namespace])


def _user_of(simulation: Simulation, object_: Object) -> Pod | None:
    """A pod that names the claim or template, rather one that waits."""
    name, namespace = object_.metadata.name, object_.metadata.namespace
    owner = object_.metadata.controller

    def named(entry: PodResourceClaim) -> str | None:
        is_claim = isinstance(object_, ResourceClaim)
        return entry.resource_claim_name if is_claim else entry.resource_claim_template_name

    users = [
        pod
        for pod in simulation.view.pods.values()
        if pod.metadata.namespace == namespace
        and not pod.done
        and (
            (owner is not None and owner.uid == pod.uid)
            or any(name == named(one) for one in pod.spec.resource_claims or ())
        )
    ]
    users.sort(key=lambda pod: (not pod.spec.scheduling_gates, pod.metadata.name))
    return users[0] if users else None


def _stand_in(simulation: Simulation, object_: Object) -> Pod:
    name = object_.metadata.name
    entry = (
        PodResourceClaim(name="devices", resource_claim_name=name)
        if isinstance(object_, ResourceClaim)
        else PodResourceClaim(name="devices", resource_claim_template_name=name)
    )
    spec = PodSpec(
        resource_claims=(entry,), containers=(Container(name="main"),), scheduling_gates=(PodSchedulingGate(name=GATE),)
    )
    pod = Pod(metadata=ObjectMeta(name=name, namespace=object_.metadata.namespace), spec=spec)
    taken = simulation.store.get(Pod, pod.key) is not None
    if taken:
        pod = Pod(metadata=ObjectMeta(name=f"{name}-stand-in", namespace=pod.metadata.namespace), spec=spec)
    created = simulation.create(pod)
    assert isinstance(created, Pod)
    return created


def explain(
    simulation: Simulation,
    pod: Pod,
    unseen: tuple[str, ...] = (),
    *,
    refused: Sequence[Refused] = (),
    live: bool = False,
    seconds: float = SECONDS,
) -> Explanation:
    """Everything about one pod. The simulation is frozen first: nothing but this pod moves.

    `live`: the pod is one of a cluster, where it may lack what it would get here. `seconds`: how long near misses are
    looked for.
    """
    simulation.freeze()
    written = pod.condition(DEVICES_ALLOCATED)
    before = claims_of(simulation, pod)
    simulation.settle(pod.uid)
    pod = simulation.view.pod(pod.uid) or pod
    standing = standing_of(simulation, pod, refused)
    hidden = bool(unseen)
    if hidden and written is not None and written.reason in Reason.__members__.values():
        standing = Standing(Reason(written.reason), written.message)
    claims = claims_of(simulation, pod)
    hints = list(_hints(simulation, pod))
    requests: tuple[RequestReport, ...] = ()
    nearest: tuple[NodeReport, ...] = ()
    suggestions: list[Suggestion] = []
    given = any(_is_allocated(claim) and not _is_allocated(before[entry]) for entry, claim in claims.items())
    if live and standing.reason is Reason.ALLOCATED and given:  # here, and not in the cluster
        hints.append(_outlook(claims))
        standing, claims = _not_yet(written), before
    elif state_of(standing.reason) == "Allocated":
        requests = tuple(_passed_over(simulation, pod, [claim for claim in claims.values() if claim is not None]))
    else:
        found = [claim for claim in claims.values() if claim is not None]
        funnels = look(pod, found, simulation.view, simulation.decider.allocator) if found else None
        if isinstance(funnels, AllocationError):
            funnels = None
        if funnels is not None:
            requests = tuple(_request(request) for request in funnels.requests)
            nearest = tuple(_nearest(funnels))
            asked = [one for request in funnels.requests for one in request]
            hints += find_hints(asked, list(simulation.view.inventory.devices()))
        if standing.reason not in _NOT_OURS:
            suggestions = NearMisses(simulation, pod, standing.reason, found, funnels).find(seconds)
    return Explanation(
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        node=pod.spec.node_name or None,
        state=state_of(standing.reason),
        reason=ReasonReport(code=standing.reason.value, message=standing.message),
        claims=tuple(ClaimReport.of(entry, claims[entry.name]) for entry in pod.spec.resource_claims or ()),
        requests=requests,
        nearest_nodes=nearest,
        hints=tuple(hints),
        suggestions=tuple(suggestions),
        unseen=unseen,
    )


def _is_allocated(claim: ResourceClaim | None) -> bool:
    return claim is not None and claim.status.allocation is not None


def _not_yet(written: Condition | None) -> Standing:
    """Of a pod that could have its devices: what it was told is why it has none, or was when it was told."""
    if written is not None and written.status != "True" and written.reason in Reason.__members__.values():
        return Standing(Reason(written.reason), written.message)
    return Standing(Reason.NOT_MANAGED, "the operator has not given it devices so far")


def _outlook(claims: Mapping[str, ResourceClaim | None]) -> str:
    devices = ", ".join(
        f"{one.device} of {one.pool}" for claim in claims.values() if claim for one in results_of(claim)
    )
    return (
        f"as the cluster looks now, it gets {devices or 'what it asks for'}; if it goes on waiting, "
        "`dra-operator doctor` says whether an operator runs"
    )


def _hints(simulation: Simulation, pod: Pod) -> Iterator[str]:
    """ "Did you mean" for what the pod names and its namespace does not have."""
    namespace, view = pod.metadata.namespace, simulation.view
    for entry in pod.spec.resource_claims or ():
        kind, name, keys = (
            ("ResourceClaimTemplate", entry.resource_claim_template_name, list(view.templates))
            if entry.resource_claim_template_name
            else ("ResourceClaim", entry.resource_claim_name, list(view.claims))
        )
        if not name or ObjectKey(namespace, name) in keys:
            continue
        if hint := did_you_mean(name, [key.name for key in keys if key.namespace == namespace]):
            yield f'{kind} "{name}": {hint.removeprefix("; ")}'
        elsewhere = sorted(key.namespace for key in keys if key.name == name)
        if elsewhere:
            yield f'{kind} "{name}" is in namespace {", ".join(elsewhere)}; a pod can use only those of its own'
    for claim in claims_of(simulation, pod).values():
        for class_ in sorted(set(class_names(claim.spec)) - view.classes.keys()) if claim is not None else ():
            if hint := did_you_mean(class_, view.classes):
                yield f'DeviceClass "{class_}": {hint.removeprefix("; ")}'


_NOT_OURS: Final = frozenset({Reason.NOT_MANAGED, Reason.WAITING_FOR_OTHER_GATES})


def _request(request: list[AlternativeFunnel]) -> RequestReport:
    first = request[0]
    return RequestReport(
        claim=first.claim.metadata.name,
        request=first.alternative.request,
        alternatives=tuple(_alternative(one) for one in request),
    )


def _passed_over(simulation: Simulation, pod: Pod, claims: list[ResourceClaim]) -> Iterator[RequestReport]:
    """The alternatives before those that were chosen, and what keeps them from the pod now."""
    chosen = {
        (claim.uid, one.request.partition("/")[0]): one.request
        for claim in claims
        if claim.status.allocation is not None
        for one in claim.status.allocation.devices.results or ()
        if "/" in one.request
    }
    asked = [claim for claim in claims if any(uid == claim.uid for uid, _ in chosen)]
    if not asked:
        return
    bare = [structs.replace(claim, status=ResourceClaimStatus()) for claim in asked]
    funnels = look(pod, bare, simulation.view, simulation.decider.allocator)
    if isinstance(funnels, AllocationError):
        return
    for request in funnels.requests:
        taken = chosen.get((request[0].claim.uid, request[0].alternative.request))
        names = [one.alternative.name for one in request]
        if taken in names[1:]:
            yield _request(request[: names.index(taken)])


def _alternative(funnel: AlternativeFunnel) -> AlternativeReport:
    alternative = funnel.alternative
    counts: dict[str, Any] = funnel.total._asdict()
    return AlternativeReport(
        name=alternative.name,
        device_class=alternative.class_.metadata.name,
        wanted=None if alternative.all_devices else alternative.count,
        selectors=tuple(
            SelectorReport(
                owner=step.owner,
                expression=step.expression,
                left=step.left,
                errors=step.errors,
                error=f"on {step.example}: {step.error}" if step.error else None,
            )
            for step in funnel.selectors
        ),
        funnel=FunnelReport(**counts, most_free_on_one_node=funnel.most_free),
    )


def _nearest(funnels: Funnels) -> list[NodeReport]:
    """The nodes that lack least."""
    ranked = sorted(funnels.nodes, key=lambda one: (_distance(funnels, one), one.node.metadata.name))
    return [NodeReport(name=one.node.metadata.name, lacks=tuple(_lacks(funnels, one))) for one in ranked[:NEAREST]]


def _distance(funnels: Funnels, node: NodeLook) -> tuple[int, int, int]:
    missing = matching = 0
    for request, counts in zip(funnels.requests, node.counts, strict=True):
        missing += min(max(0, one.wanted - count.free) for one, count in zip(request, counts, strict=True))
        matching += max(count.matching for count in counts)
    return missing, len(node.misfits), -matching


def _lacks(funnels: Funnels, node: NodeLook) -> list[str]:
    lacks = []
    for request, counts in zip(funnels.requests, node.counts, strict=True):
        pairs = list(zip(request, counts, strict=True))
        if all(count.free < one.wanted for one, count in pairs):
            one, count = max(pairs, key=lambda pair: (pair[1].free, pair[1].matching))
            lacks.append(
                f'request "{one.alternative.name}": {count.free} of {one.wanted} free '
                f"({count.matching} of its {count.published} devices match)"
            )
    if not lacks and not node.fits_devices:
        lacks.append("its free devices do not satisfy requests and constraints together")
    return [*lacks, *(misfit.message for misfit in node.misfits)]
