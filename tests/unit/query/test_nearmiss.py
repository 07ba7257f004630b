"""Near misses are promises: whoever makes the suggested change, and only that, sees the pod get its devices.

The check is made without the code that found them: the change is applied to the manifests as written, and a new
simulation begins from those.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import msgspec
import pytest

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey
from dra_operator.query.documents import Document
from dra_operator.query.explain import Explanation, explain
from dra_operator.query.objects import load_objects
from dra_operator.query.report import PodReport, report_on
from dra_operator.query.scene import build_scene
from dra_operator.world.simulation import Simulation
from tests.unit.query.waiting import POD, Manifest, waiting_case

WANTED = 50
NOW = 1_800_000_000.0
_KEY = ObjectKey("team", POD)


def simulate(objects: list[Manifest]) -> tuple[Simulation, PodReport]:
    documents = [Document("case", number, one) for number, one in enumerate(objects)]
    simulation = build_scene(load_objects(documents), now=NOW).simulation
    simulation.run()
    return simulation, next(one for one in report_on(simulation).pods if one.name == POD)


def explained(simulation: Simulation) -> Explanation:
    pod = simulation.store.get(Pod, _KEY)
    assert pod is not None
    return explain(simulation, pod, seconds=math.inf)


def changed(objects: list[Manifest], change: dict[str, Any]) -> list[Manifest]:
    """The manifests with the change in them, by its JSON alone."""
    objects = copy.deepcopy(objects)

    def is_meant(one: Manifest) -> bool:
        meta = one["metadata"]
        return (one["kind"], meta.get("namespace", ""), meta["name"]) == (
            change["kind"],
            change["namespace"],
            change["name"],
        )

    if change["action"] == "delete":
        gone = [one["metadata"]["uid"] for one in objects if is_meant(one)]
        for one in objects:  # what the operator does when the pod is gone
            users = one.get("status", {}).get("reservedFor", [])
            if users and all(user["uid"] in gone for user in users):
                one["status"] = {}
        return [one for one in objects if not is_meant(one)]
    if change["action"] == "addNode":
        text = msgspec.json.encode([one for one in objects if is_meant(one) or _is_slice_of(one, change["name"])])
        more: list[Manifest] = msgspec.json.decode(text.replace(change["name"].encode(), b"another"))
        for one in more:
            for device in one["spec"].get("devices", ()) if one["kind"] == "ResourceSlice" else ():
                device.pop("taints", None)  # a new node is healthy
        return [*objects, *more]
    [target] = [one for one in objects if is_meant(one)]
    *path, last = change["path"]
    for step in path:
        target = target.setdefault(step, {}) if isinstance(target, dict) else target[step]
    target[last] = change["value"]
    return objects


def _is_slice_of(one: Manifest, node: str) -> bool:
    return bool(one["kind"] == "ResourceSlice" and one["spec"].get("nodeName") == node)


def waiting_seeds() -> list[int]:
    found: list[int] = []
    seed = 0
    while len(found) < WANTED:
        if simulate(waiting_case(seed))[1].state != "Allocated":
            found.append(seed)
        seed += 1
    return found


@pytest.fixture(scope="module")
def explanations() -> dict[int, Explanation]:
    """Of fifty pods that wait, by seed."""
    return {seed: explained(simulate(waiting_case(seed))[0]) for seed in waiting_seeds()}


def test_each_suggestion_keeps_its_promise(explanations: dict[int, Explanation]) -> None:
    broken = []
    for seed, explanation in explanations.items():
        for suggestion in explanation.suggestions:
            objects = waiting_case(seed)
            for change in suggestion.changes:
                objects = changed(objects, msgspec.to_builtins(change))
            after = simulate(objects)[1]
            if after.state != "Allocated":
                broken.append(f"seed {seed}: {suggestion.message}: {after.reason.message}")
    assert not broken, "\n".join(broken)


def test_most_waiting_pods_get_a_suggestion(explanations: dict[int, Explanation]) -> None:
    helped = [seed for seed, explanation in explanations.items() if explanation.suggestions]
    assert len(helped) >= 30, f"only {len(helped)} of {len(explanations)}"


def test_the_cases_are_of_many_kinds(explanations: dict[int, Explanation]) -> None:
    """Or else the promises above would say little."""
    codes = {explanation.reason.code for explanation in explanations.values()}
    actions = {change.action for one in explanations.values() for s in one.suggestions for change in s.changes}
    assert len(codes) >= 5
    assert actions == {"set", "delete", "addNode"}


def test_explaining_changes_nothing() -> None:
    for seed in range(10):
        simulation, before = simulate(waiting_case(seed))
        first = explained(simulation)
        assert explained(simulation) == first
        assert next(one for one in report_on(simulation).pods if one.name == POD) == before
        assert (first.reason, first.state) == (before.reason, before.state)


def test_the_funnel_adds_up(explanations: dict[int, Explanation]) -> None:
    for explanation in explanations.values():
        for alternative in (one for request in explanation.requests for one in request.alternatives):
            funnel = alternative.funnel
            stopped = funnel.in_use + funnel.tainted + funnel.without_capacity + funnel.without_counters
            assert funnel.published >= funnel.in_class >= funnel.matching == stopped + funnel.free
            assert [step.left for step in alternative.selectors][-1:] == [funnel.matching]
