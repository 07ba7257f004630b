"""Users, administrators, node agents and accidents: what each operation of a scenario does to the cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dra_operator.api.names import ALLOCATION_LABEL, GATE, POD_CLAIM_NAME_ANNOTATION
from tests.simulation.cluster import LASTING, USER, Cluster, is_done, key_of, name_of
from tests.simulation.model.fields import Json
from tests.simulation.model.store import ADMIN_LABEL, Entry, StatusError
from tests.simulation.objects import (
    CLAIM_SPECS,
    CLASS,
    HOME,
    NATIVE,
    OPS,
    SHARED_CLAIMS,
    claim,
    device_class,
    namespace,
    node,
    pod,
    slices,
    template,
)
from tests.simulation.scenario import NodeKind, Op, Scenario


@dataclass(slots=True)
class People:
    """See the module. `perform` does one operation; one that finds nothing to do does nothing."""

    cluster: Cluster
    scenario: Scenario
    _number: int = 0
    _kinds: dict[str, NodeKind] = field(default_factory=dict)

    def populate(self) -> None:
        self._kinds = {one.name: one for one in self.scenario.nodes}
        self._create("namespaces", namespace(HOME))
        self._create("namespaces", namespace(OPS, {ADMIN_LABEL: "true"} if self.scenario.grants_admin else {}))
        self._create("namespaces", namespace(NATIVE, {ALLOCATION_LABEL: "disabled"}))
        self._create("deviceclasses", device_class())
        for name in CLAIM_SPECS:
            where = OPS if name == "watch" else HOME
            self._create("resourceclaimtemplates", template(name, where))
        self._create("resourceclaimtemplates", template("one", NATIVE))
        for name, like in SHARED_CLAIMS.items():
            self._create("resourceclaims", claim(name, HOME, like))
        for one in self.scenario.nodes:
            self._create("nodes", node(one.name))
            self._publish(one)

    def perform(self, op: Op) -> None:
        self._number = int(op.arguments[0]) if op.what != "pod" and op.arguments else 0
        action: Callable[..., None] = getattr(self, f"_do_{op.what.replace('-', '_')}")
        try:
            if op.what == "pod":
                action(*op.arguments)
            else:
                action()
        except StatusError as error:
            self.cluster.note(f"user: {op.what}: {error}")

    def give_up(self) -> None:
        """Somebody has to delete an ungated pod that kube-scheduler will never bind: its claim or node is gone."""
        store = self.cluster.store
        for one in list(store.all("pods")):
            spec = one["spec"]
            if spec.get("nodeName") or spec.get("schedulingGates") or is_done(one):
                continue
            claims = self.cluster.claims_of(one)
            if any(
                found is None or found["metadata"].get("deletionTimestamp") or not found["status"].get("allocation")
                for found in claims.values()
            ):
                self.cluster.note(f"user: gives up on {name_of(one)}")
                store.delete("pods", key_of(one), actor=USER)

    # --- pods --------------------------------------------------------------------------------------------------------

    def _do_pod(self, name: str, where: str, gate: str, templates: str, claims: str) -> None:
        split = [[] if text == "-" else text.split(",") for text in (gate, templates, claims)]
        self._create("pods", pod(name, where, split[1], split[2], split[0]))

    def _do_service_replaced(self) -> None:
        """A pod that runs for ever, under one name; the one before it is killed, as a StatefulSet's would be."""
        if self.cluster.store.get("pods", (HOME, LASTING)) is not None:
            self.cluster.store.delete("pods", (HOME, LASTING), grace_seconds=0, actor=USER)
        self._create("pods", pod(LASTING, HOME, [], ["shared-a"]))

    def _do_pod_deleted(self) -> None:
        if (one := self._pick("pods")) is not None:
            self.cluster.store.delete("pods", key_of(one), actor=USER)

    def _do_pod_killed(self) -> None:
        if (one := self._pick("pods")) is not None:
            self.cluster.store.delete("pods", key_of(one), grace_seconds=0, actor=USER)

    def _do_pods_all_killed(self) -> None:
        for one in list(self.cluster.store.all("pods")):
            self.cluster.store.delete("pods", key_of(one), grace_seconds=0, actor=USER)

    def _do_pod_replaced(self) -> None:
        if (one := self._pick("pods")) is not None:
            self.cluster.store.delete("pods", key_of(one), grace_seconds=0, actor=USER)
            entries = one["spec"].get("resourceClaims") or ()
            self._create(
                "pods",
                pod(
                    one["metadata"]["name"],
                    one["metadata"]["namespace"],
                    [entry["resourceClaimTemplateName"] for entry in entries if "resourceClaimTemplateName" in entry],
                    [entry["resourceClaimName"] for entry in entries if "resourceClaimName" in entry],
                ),
            )

    def _do_gate_removed(self) -> None:
        """Somebody does not want to wait."""
        gated = [one for one in self.cluster.store.all("pods") if one["spec"].get("schedulingGates")]
        if gated:
            one = gated[self._number % len(gated)]
            patch = {"spec": {"schedulingGates": [{"$patch": "delete", "name": GATE}]}}
            self.cluster.store.patch("pods", key_of(one), patch, "strategic", manager=USER, actor=USER)

    def quota(self) -> None:
        """The other gate is lifted by whoever holds it."""
        for one in list(self.cluster.store.all("pods")):
            names = [gate["name"] for gate in one["spec"].get("schedulingGates") or ()]
            other = [name for name in names if name != GATE]
            if other and (self.cluster.calm or self.cluster.rng.random() < 0.2):
                patch = {"spec": {"schedulingGates": [{"$patch": "delete", "name": name} for name in other]}}
                self.cluster.store.patch("pods", key_of(one), patch, "strategic", manager=USER, actor=USER)

    # --- claims, templates, classes ----------------------------------------------------------------------------------

    def _do_claim_deleted(self) -> None:
        if (one := self._pick("resourceclaims")) is not None:
            self.cluster.store.delete("resourceclaims", key_of(one), actor=USER)

    def _do_claim_stripped(self) -> None:
        """Deleted, and its finalizers removed by force."""
        if (one := self._pick("resourceclaims")) is not None:
            self.cluster.store.delete("resourceclaims", key_of(one), actor=USER)
            if self.cluster.store.get("resourceclaims", key_of(one)) is not None:
                patch = {"metadata": {"finalizers": None}}
                self.cluster.store.patch("resourceclaims", key_of(one), patch, "merge", manager=USER, actor=USER)

    def _do_claim_edited(self) -> None:
        if (one := self._pick("resourceclaims")) is not None:
            patch = {"metadata": {"labels": {"edited": str(self._number)}}}
            self.cluster.store.patch("resourceclaims", key_of(one), patch, "merge", manager=USER, actor=USER)

    def _do_claim_cleared(self) -> None:
        """Somebody with the right to it empties a claim's status."""
        if (one := self._pick("resourceclaims")) is not None:
            patch = {"status": {"allocation": None, "reservedFor": None}}
            self.cluster.store.patch(
                "resourceclaims", key_of(one), patch, "merge", subresource="status", manager=USER, actor=USER
            )

    def _do_claim_restored(self) -> None:
        for name, like in SHARED_CLAIMS.items():
            if self.cluster.store.get("resourceclaims", (HOME, name)) is None:
                self._create("resourceclaims", claim(name, HOME, like))

    def _do_imposter_claim(self) -> None:
        """A claim of somebody's, with the name that the operator would choose for the claim of a pod to come."""
        waiting = [one for one in self.cluster.store.all("pods") if one["spec"].get("schedulingGates")]
        if waiting:
            one = waiting[self._number % len(waiting)]
            mine = [
                found
                for found in self.cluster.store.all("resourceclaims")
                if any(
                    owner["uid"] == one["metadata"]["uid"] for owner in found["metadata"].get("ownerReferences") or ()
                )
            ]
            for found in mine:
                name = found["metadata"]["name"]
                where = found["metadata"]["namespace"]
                self.cluster.store.delete("resourceclaims", (where, name), actor=USER)
                if self.cluster.store.get("resourceclaims", (where, name)) is not None:
                    patch = {"metadata": {"finalizers": None}}
                    self.cluster.store.patch("resourceclaims", (where, name), patch, "merge", manager=USER, actor=USER)
                entry = found["metadata"]["annotations"][POD_CLAIM_NAME_ANNOTATION]
                imposter = claim(name, where, "one")
                imposter["metadata"]["annotations"] = {POD_CLAIM_NAME_ANNOTATION: entry}
                self._create("resourceclaims", imposter)

    def _do_second_claim(self) -> None:
        """Another generator makes a claim, whether the pod has one or not: its mirror is old."""
        with_templates = [
            (one, entry)
            for one in self.cluster.store.all("pods")
            for entry in one["spec"].get("resourceClaims") or ()
            if not is_done(one) and "resourceClaimTemplateName" in entry
        ]
        if with_templates:
            one, entry = with_templates[self._number % len(with_templates)]
            self.cluster.generate(one, entry)

    def _do_template_deleted(self) -> None:
        if (one := self._pick("resourceclaimtemplates")) is not None:
            self.cluster.store.delete("resourceclaimtemplates", key_of(one), actor=USER)

    def _do_template_restored(self) -> None:
        for name in CLAIM_SPECS:
            where = OPS if name == "watch" else HOME
            if self.cluster.store.get("resourceclaimtemplates", (where, name)) is None:
                self._create("resourceclaimtemplates", template(name, where))

    def _do_class_deleted(self) -> None:
        self.cluster.store.delete("deviceclasses", ("", CLASS), actor=USER)

    def _do_class_restored(self) -> None:
        if self.cluster.store.get("deviceclasses", ("", CLASS)) is None:
            self._create("deviceclasses", device_class())

    # --- namespaces, nodes, agents -----------------------------------------------------------------------------------

    def _do_admin_toggled(self) -> None:
        self._toggle(OPS, ADMIN_LABEL, "true")

    def _do_home_toggled(self) -> None:
        self._toggle(HOME, ALLOCATION_LABEL, "disabled")

    def _toggle(self, where: str, label: str, value: str) -> None:
        found = self.cluster.store.get("namespaces", ("", where)) or {}
        on = (found["metadata"].get("labels") or {}).get(label) == value
        patch = {"metadata": {"labels": {label: None if on else value}}}
        self.cluster.store.patch("namespaces", ("", where), patch, "merge", manager=USER, actor=USER)

    def _do_cordoned(self) -> None:
        if (one := self._pick("nodes")) is not None:
            patch = {"spec": {"unschedulable": not one["spec"].get("unschedulable", False) or None}}
            self.cluster.store.patch("nodes", key_of(one), patch, "merge", manager=USER, actor=USER)

    def _do_node_vanishes(self) -> None:
        if (one := self._pick("nodes")) is not None:
            self.cluster.store.delete("nodes", key_of(one), actor=USER)
            for slice_ in list(self.cluster.store.all("resourceslices")):
                if slice_["spec"]["nodeName"] == one["metadata"]["name"]:
                    self.cluster.store.delete("resourceslices", key_of(slice_), actor=USER)

    def _do_node_returns(self) -> None:
        for name, kind in self._kinds.items():
            if self.cluster.store.get("nodes", ("", name)) is None:
                self._create("nodes", node(name))
                self._publish(kind)

    def _do_agent_restarts(self) -> None:
        """It publishes anew, with the next generation; a device may be lost or hot."""
        if (one := self._pick("nodes")) is not None:
            kind = self._kinds[one["metadata"]["name"]]
            lost = ["gpu-0"] if self._number % 4 == 0 and kind.gpus > 1 else []
            hot = ["gpu-1"] if self._number % 4 == 1 else []
            self._publish(kind, lost, hot)

    def _do_slice_deleted(self) -> None:
        """Its agent puts it back when it restarts."""
        if (one := self._pick("resourceslices")) is not None:
            self.cluster.store.delete("resourceslices", key_of(one), actor=USER)

    def _publish(self, kind: NodeKind, without: list[str] | None = None, tainted: list[str] | None = None) -> None:
        store = self.cluster.store
        generation = self.cluster.generation.get(kind.name, 0) + 1
        self.cluster.generation[kind.name] = generation
        for new in slices(kind.name, kind.kind, kind.gpus, generation, without=without or (), tainted=tainted or ()):
            key = key_of(new)
            if store.get("resourceslices", key) is None:
                store.create("resourceslices", new, manager="agent", actor="agent")
            else:
                store.patch("resourceslices", key, {"spec": new["spec"]}, "merge", manager="agent", actor="agent")

    # --- aids --------------------------------------------------------------------------------------------------------

    def _create(self, resource: str, object_: Json) -> Entry:
        return self.cluster.store.create(resource, object_, manager=USER, actor=USER)

    def _pick(self, resource: str) -> Json | None:
        """One of those that there are, as the scenario has drawn it."""
        found = list(self.cluster.store.all(resource))
        return found[self._number % len(found)] if found else None
