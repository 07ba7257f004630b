"""The simulated cluster: what is played around the core, and that a trial leaves nothing behind."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from dra_operator.api.core import Namespace, Pod
from dra_operator.api.meta import Object, ObjectMeta
from dra_operator.api.names import ALLOCATION_LABEL, GATE
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ResourceClaim
from dra_operator.world.simulation import Simulation
from tests.builders import claim, device_class, node, pod, request, slice_of, template
from tests.unit.lifecycle.scene import publishes

NOW = 1_800_000_000.0


def user(name: str = "one", **spec: Any) -> Pod:
    made = pod(name, templates=["gpu"])
    return structs.replace(
        made,
        metadata=structs.replace(made.metadata, uid=""),
        spec=structs.replace(made.spec, scheduling_gates=None, **spec),
    )


def cluster(*objects: Object, gpus: int = 1) -> Simulation:
    simulation = Simulation(NOW)
    for one in (device_class(), node(), slice_of(gpus=gpus), template(request(), name="gpu"), *objects):
        simulation.create(one)
    return simulation


def pod_of(simulation: Simulation, name: str = "one") -> Pod:
    return next(one for one in simulation.view.pods.values() if one.metadata.name == name)


def test_a_pod_is_gated_given_devices_ungated_and_bound() -> None:
    simulation = cluster(user())
    assert pod_of(simulation).has_gate(GATE)
    simulation.run()
    after = pod_of(simulation)
    assert not after.spec.scheduling_gates
    assert after.spec.node_name == node().metadata.name
    assert simulation.standing[after.uid].reason is Reason.ALLOCATED


@pytest.mark.parametrize("labels", [{ALLOCATION_LABEL: "disabled"}, None])
def test_the_gate_is_given_as_the_admission_policy_gives_it(labels: dict[str, str] | None) -> None:
    one = user()
    namespace = Namespace(metadata=ObjectMeta(name=one.metadata.namespace, labels=labels))
    assert pod_of(cluster(namespace, one)).has_gate(GATE) is (labels is None)


def test_pods_that_name_their_node_are_not_gated() -> None:
    assert not pod_of(cluster(user(node_name="node-a"))).spec.scheduling_gates


def test_higher_priority_goes_first_and_then_who_came_first() -> None:
    simulation = cluster(user("late-but-urgent", priority=10), user("first"), user("second"), gpus=2)
    simulation.run()
    told = {one.metadata.name: simulation.standing[one.uid].reason for one in simulation.view.pods.values()}
    assert told == {
        "late-but-urgent": Reason.ALLOCATED,
        "first": Reason.ALLOCATED,
        "second": Reason.DEVICES_IN_USE,
    }


def test_a_deleted_pod_gives_its_device_to_one_that_waits() -> None:
    simulation = cluster(user("first"), user("second"))
    simulation.run()
    simulation.delete(Pod, pod_of(simulation, "first").key)
    simulation.run()
    assert simulation.standing[pod_of(simulation, "second").uid].reason is Reason.ALLOCATED
    assert len(list(simulation.store.all(ResourceClaim))) == 1


def test_a_pod_whose_published_claim_is_not_there_gets_another() -> None:
    one = publishes(user(), {"gpu": "gone"})
    simulation = cluster(one)
    simulation.run()
    assert simulation.standing[pod_of(simulation).uid].reason is Reason.ALLOCATED
    [made] = simulation.view.claims.values()
    [published] = pod_of(simulation).status.resource_claim_statuses or ()
    assert published.resource_claim_name == made.metadata.name


def test_settling_one_pod_leaves_others_as_they_are() -> None:
    simulation = cluster(user("one"), user("other"), gpus=2)
    simulation.freeze()
    standing = simulation.settle(pod_of(simulation, "one").uid)
    assert standing is not None
    assert standing.reason is Reason.ALLOCATED
    assert pod_of(simulation, "other").has_gate(GATE)


def state(simulation: Simulation) -> dict[Any, Any]:
    """All objects but for their versions."""
    return {
        key: structs.replace(one, metadata=structs.replace(one.metadata, resource_version=""))
        for objects in simulation.store.snapshot().values()
        for key, one in objects.items()
    }


def test_what_happens_in_a_trial_did_not_happen() -> None:
    simulation = cluster(user("first"), user("second"), claim(name="mine", uid="claim-mine"))
    simulation.run()
    before, second = state(simulation), pod_of(simulation, "second")
    with simulation.trial():
        simulation.delete(Pod, pod_of(simulation, "first").key)
        standing = simulation.settle(second.uid)
        assert standing is not None
        assert standing.reason is Reason.ALLOCATED
    assert state(simulation) == before
    assert simulation.standing[second.uid].reason is Reason.DEVICES_IN_USE
    again = simulation.settle(second.uid)
    assert again is not None
    assert again.reason is Reason.DEVICES_IN_USE
