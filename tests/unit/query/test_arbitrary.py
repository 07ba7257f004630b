"""Manifests with arbitrary mistakes: they are simulated, or refused in one sentence; nothing else happens."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from dra_operator.query.documents import Document, InputError
from dra_operator.query.explain import explain
from dra_operator.query.objects import load_objects
from dra_operator.query.report import report_on
from dra_operator.query.scene import build_scene
from tests.unit.query.waiting import Manifest, waiting_case

CASES = 300
BATCH = 50
NOW = 1_800_000_000.0
_VALUES: tuple[Any, ...] = (
    None,
    "",
    "x",
    0,
    -1,
    2**70,
    1.5,
    True,
    [],
    {},
    ["x"],
    {"a": "b"},
    "9" * 40,
    "\x00",
    "1e9999",
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key in it, all the way down."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def spoiled(seed: int) -> list[Manifest]:
    """A case with one to three values replaced, removed or moved."""
    rng = random.Random(seed)
    objects = waiting_case(seed % 40)
    for _ in range(rng.randrange(1, 4)):
        container, key = rng.choice(list(places(objects)))
        if key not in container if isinstance(container, dict) else key >= len(container):
            continue
        match rng.randrange(3):
            case 0:
                container[key] = rng.choice(_VALUES)
            case 1:
                del container[key]
            case _:
                other, from_ = rng.choice(list(places(objects)))
                container[key] = other[from_] if not isinstance(other[from_], dict | list) else rng.choice(_VALUES)
    return objects


def use(objects: list[Manifest]) -> str:
    """Simulate, report, and explain every pod that waits. Returns what came of it."""
    try:
        scene = build_scene(load_objects(Document("file", n, one) for n, one in enumerate(objects)), now=NOW)
    except InputError:
        return "refused"
    scene.simulation.run()
    for one in report_on(scene.simulation, scene.refused).pods:
        if one.state != "Allocated":
            pod = next((pod for pod in scene.simulation.view.pods.values() if pod.metadata.name == one.name), None)
            if pod is None:
                assert one.name in [refused.key.name for refused in scene.refused]
                continue
            explain(scene.simulation, pod, refused=scene.refused, seconds=0.0)
    return "simulated"


@pytest.mark.parametrize("first", range(0, CASES, BATCH))
def test_whatever_is_wrong_it_is_simulated_or_refused(first: int) -> None:
    came = []
    for seed in range(first, first + BATCH):
        try:
            came.append(use(spoiled(seed)))
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    assert set(came) == {"refused", "simulated"}
