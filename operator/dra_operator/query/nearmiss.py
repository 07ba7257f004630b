"""Near misses: the smallest changes after which a waiting pod would get its devices.

Candidates are made from the funnels, cheapest first; each is tried on the simulated cluster with the operator's own
core, and only what made the pod get its devices is told. So a suggestion is never a guess.

Not here: how selectors are relaxed (`relax.py`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from dra_operator.allocation.outcome import AllocationError
from dra_operator.allocation.taints import tolerates
from dra_operator.api.codec import to_plain
from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import ADMIN_ACCESS_LABEL
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import DeviceTaint, DeviceToleration, ResourceClaim
from dra_operator.inventory.devices import Device
from dra_operator.query.amounts import amount_of
from dra_operator.query.changes import Change, Step, apply
from dra_operator.query.funnel import AlternativeFunnel, Funnels, find_holders, look
from dra_operator.query.misnamed import find_attribute, find_capacities, matching
from dra_operator.query.nodemiss import NodeMisses
from dra_operator.query.relax import guards, relaxations
from dra_operator.query.report import claims_of
from dra_operator.query.suggest import nearest
from dra_operator.query.targets import Suggestion, Target, asks_of, of_pod
from dra_operator.world.simulation import Simulation

MOST: Final = 5
"""Suggestions for one pod."""
TRIES: Final = 40
SECONDS: Final = 0.5
"""A cluster of thousands gets what can be tried in this time."""
_SECOND_TRIES: Final = 4
_OF_THE_CLUSTER: Final = frozenset({"ends", "node", "cordon"})
"""Topics that are about what there is, and so the second of a pair."""


class NearMisses:
    """See the module. `funnels` is None where the claims cannot even be planned."""

    def __init__(
        self, simulation: Simulation, pod: Pod, reason: Reason, claims: list[ResourceClaim], funnels: Funnels | None
    ) -> None:
        self._simulation = simulation
        self._view = simulation.view
        self._pod = pod
        self._reason = reason
        self._claims = claims
        self._funnels = funnels
        self._holders = find_holders(simulation.view)

    def find(self, seconds: float = SECONDS) -> list[Suggestion]:
        """What was tried and helped, cheapest first; after so many seconds no more is tried."""
        found: list[Suggestion] = []
        deadline = time.monotonic() + seconds
        done: set[str] = set()
        for number, (topic, suggestion) in enumerate(self._candidates()):
            if len(found) >= MOST or number >= TRIES or (number and time.monotonic() > deadline):
                break
            if topic not in done and self._helps(suggestion):
                found.append(suggestion)
                done.add(topic)
        if not found:
            found += self._pairs(deadline)
        return found

    def _pairs(self, deadline: float) -> list[Suggestion]:
        """Two changes together: one of what is asked, one of what there is."""
        for topic, first in self._candidates():
            if time.monotonic() > deadline:
                break
            if topic in _OF_THE_CLUSTER:
                continue
            with self._simulation.trial():
                second = self._second(first)
            if second is not None:
                message = f"{first.message}, and {second.message}"
                return [Suggestion(message=message, changes=(*first.changes, *second.changes))]
        return []

    def _second(self, first: Suggestion) -> Suggestion | None:
        """What helps once the first change is made."""
        for change in first.changes:
            apply(self._simulation, change, self._pod)
        self._simulation.settle(self._pod.uid)
        pod = self._view.pod(self._pod.uid)
        if pod is None:
            return None
        claims = [claim for claim in claims_of(self._simulation, pod).values() if claim is not None]
        funnels = look(pod, claims, self._view, self._simulation.decider.allocator)
        if isinstance(funnels, AllocationError):
            return None
        nodes = NodeMisses(self._simulation, pod, funnels, self._holders)
        candidates = (*nodes.ends(), *nodes.more())
        return next((suggestion for _, suggestion in candidates[:_SECOND_TRIES] if self._helps(suggestion)), None)

    def _helps(self, suggestion: Suggestion) -> bool:
        with self._simulation.trial():
            for change in suggestion.changes:
                apply(self._simulation, change, self._pod)
            standing = self._simulation.settle(self._pod.uid)
            return standing is not None and standing.reason is Reason.ALLOCATED

    # --- candidates: a topic, of which the first that helps is enough, and a suggestion ------------------------------

    def _candidates(self) -> Iterator[tuple[str, Suggestion]]:
        yield from self._names()
        if self._reason is Reason.ADMIN_ACCESS_DENIED:
            yield "admin", self._label()
        if self._reason is Reason.SELECTOR_FAILED:
            for claim in self._claims:
                yield from guards(Target(self._pod, claim), claim)
        if self._funnels is None:
            return
        blocked = [(number, one) for number, request in enumerate(self._funnels.requests) for one in request]
        blocked = [(number, one) for number, one in blocked if one.most_free < one.wanted] or blocked
        for number, funnel in blocked:
            target = Target(self._pod, funnel.claim)
            if funnel.total.tainted:
                yield from self._tolerations(target, funnel)
            if funnel.most_matching < funnel.wanted:
                for message, change in relaxations(target, funnel, self._devices()):
                    yield f"relax {number}", Suggestion(message=message, changes=(change,))
            yield from self._counts(target, funnel)
            yield from self._capacity(target, funnel)
        nodes = NodeMisses(self._simulation, self._pod, self._funnels, self._holders)
        yield from nodes.rules()
        yield from self._constraints()
        yield from nodes.ends()
        yield from nodes.more()

    def _names(self) -> Iterator[tuple[str, Suggestion]]:
        """Names that do not exist and are like one that does."""
        namespace = self._pod.metadata.namespace
        for index, entry in enumerate(self._pod.spec.resource_claims or ()):
            field, name, known = (
                ("resourceClaimTemplateName", entry.resource_claim_template_name, self._view.templates)
                if entry.resource_claim_template_name
                else ("resourceClaimName", entry.resource_claim_name, self._view.claims)
            )
            there: Mapping[ObjectKey, object] = known
            if not name or ObjectKey(namespace, name) in there:
                continue
            like = nearest(name, [key.name for key in there if key.namespace == namespace])
            if like is not None:
                path: tuple[Step, ...] = ("spec", "resourceClaims", index, field)
                yield (
                    f"name {index}",
                    of_pod(self._pod, f'if the pod named "{like}" where it says "{name}"', path, like),
                )
        for claim in self._claims:
            target = Target(self._pod, claim)
            for request in claim.spec.devices.requests or ():
                for subrequest, ask in asks_of(request):
                    if ask.device_class_name in self._view.classes:
                        continue
                    like = nearest(ask.device_class_name, self._view.classes)
                    if like is not None:
                        path = (*target.ask(request.name, subrequest), "deviceClassName")
                        message = (
                            f'if {target.label} named the DeviceClass "{like}" instead of "{ask.device_class_name}"'
                        )
                        yield f"class {request.name}", Suggestion(message=message, changes=(target.set(path, like),))

    def _label(self) -> Suggestion:
        namespace = self._pod.metadata.namespace
        return Suggestion(
            message=f'if an administrator labelled namespace "{namespace}" with {ADMIN_ACCESS_LABEL}: "true"',
            changes=(
                Change(
                    action="set",
                    kind="Namespace",
                    name=namespace,
                    path=("metadata", "labels", ADMIN_ACCESS_LABEL),
                    value="true",
                ),
            ),
        )

    def _tolerations(self, target: Target, funnel: AlternativeFunnel) -> Iterator[tuple[str, Suggestion]]:
        """Tolerate what taints devices that match."""
        alternative = funnel.alternative
        tainted: Counter[tuple[DeviceTaint, ...]] = Counter()
        for device in self._matching(funnel):
            blocking = tuple(
                sorted(
                    {
                        DeviceTaint(key=one.key, value=one.value, effect=one.effect)
                        for one in device.taints
                        if one.effect in ("NoSchedule", "NoExecute")
                        and not any(tolerates(toleration, one) for toleration in alternative.tolerations)
                    },
                    key=lambda one: (one.key, one.effect),
                )
            )
            if blocking and device.id not in self._holders:
                tainted[blocking] += 1
        for taints, count in tainted.most_common(3):
            added = [DeviceToleration(key=one.key, operator="Exists", effect=one.effect) for one in taints]
            path = (*target.ask(alternative.request, alternative.subrequest), "tolerations")
            names = ", ".join(f"{one.key}{'=' + one.value if one.value else ''}:{one.effect}" for one in taints)
            message = (
                f"{count} free device{' is' if count == 1 else 's are'} tainted {names}: "
                f'if request "{alternative.name}" in {target.label} tolerated that'
            )
            value = to_plain([*alternative.tolerations, *added])
            yield f"taint {alternative.name}", Suggestion(message=message, changes=(target.set(path, value),))

    def _counts(self, target: Target, funnel: AlternativeFunnel) -> Iterator[tuple[str, Suggestion]]:
        """Fewer devices, as many as some node has."""
        alternative = funnel.alternative
        if alternative.all_devices or alternative.count < 2:
            return
        path = (*target.ask(alternative.request, alternative.subrequest), "count")
        most = funnel.most_free or funnel.most_matching
        for count in range(min(most, alternative.count - 1), 0, -1):
            message = f'if request "{alternative.name}" in {target.label} wanted {count} instead of {alternative.count}'
            yield f"count {alternative.name}", Suggestion(message=message, changes=(target.set(path, count),))

    def _capacity(self, target: Target, funnel: AlternativeFunnel) -> Iterator[tuple[str, Suggestion]]:
        """Less of a shareable device's capacity: as much as is left somewhere."""
        alternative = funnel.alternative
        if not funnel.total.without_capacity:
            return
        path = (*target.ask(alternative.request, alternative.subrequest), "capacity", "requests")
        for wrong in find_capacities(funnel, self._devices()):
            if wrong.like is not None and wrong.like not in alternative.capacity:
                amounts = {
                    wrong.like if name == wrong.name else name: one for name, one in alternative.capacity.items()
                }
                message = f'if request "{alternative.name}" in {target.label} said "{wrong.like}" for "{wrong.name}"'
                value = {name: str(amount) for name, amount in amounts.items()}
                yield f"capacity {alternative.name}", Suggestion(message=message, changes=(target.set(path, value),))
        for name, wanted in alternative.capacity.items():
            left = set()
            for device in self._matching(funnel):
                capacity = (device.basic.capacity or {}).get(name)
                if capacity is not None:
                    used = self._view.ledger.consumed(device.id).get(name, 0)
                    rest = capacity.value.scaled_value(-9) - used
                    if 0 < rest < wanted.scaled_value(-9):
                        left.add(rest)
            for rest in sorted(left, reverse=True)[:3]:
                amount = amount_of(rest, like=str(wanted))
                change = target.set((*path, name), amount)
                asks = f"asked for {amount} of {name} instead of {wanted}"
                message = f'if request "{alternative.name}" in {target.label} {asks}'
                yield f"capacity {alternative.name}", Suggestion(message=message, changes=(change,))

    def _constraints(self) -> Iterator[tuple[str, Suggestion]]:
        """Another attribute where no device has that one; one constraint less."""
        funnels = [one for request in self._funnels.requests for one in request] if self._funnels else []
        for claim in self._claims:
            constraints = claim.spec.devices.constraints or ()
            target = Target(self._pod, claim)
            for index, one in enumerate(constraints):
                rest = to_plain([other for other in constraints if other is not one])
                name = one.match_attribute or one.distinct_attribute
                kind = "matchAttribute" if one.match_attribute else "distinctAttribute"
                wrong = find_attribute(claim, one, funnels, self._devices())
                if wrong is not None and wrong.like is not None:
                    change = target.set(("constraints", index, kind), wrong.like)
                    message = f"if the constraint {kind} of {target.label} said {wrong.like} for {name}"
                    yield f"constraint {index}", Suggestion(message=message, changes=(change,))
                message = f"if {target.label} did without its constraint {kind} {name}"
                yield f"constraint {index}", Suggestion(message=message, changes=(target.set(("constraints",), rest),))

    # --- parts -------------------------------------------------------------------------------------------------------

    def _devices(self) -> list[Device]:
        return list(self._view.inventory.devices())

    def _matching(self, funnel: AlternativeFunnel) -> Iterator[Device]:
        return matching(funnel, self._devices())
