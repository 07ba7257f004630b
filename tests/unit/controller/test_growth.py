"""Pods come, are given devices and go: nothing of them stays.

What is kept is counted, not measured: every object that can be reached from what lives as long as the process, by type.
After one round of pods or after many it is the same, but for what is remembered on purpose and has an end of its own
(`lifecycle/versions.py`: tombstones).
"""

from __future__ import annotations

import asyncio
import gc
import types
from collections import Counter
from collections.abc import Iterable

import pytest

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.lifecycle.actions import CreateClaim, Refused, Unknown, WriteClaimStatus
from dra_operator.lifecycle.versions import Tombstones
from dra_operator.world.store import Store
from tests.builders import template
from tests.unit.controller.desk import ANSWER_LOST, Desk, play
from tests.unit.lifecycle.scene import gated, gpus

_OTHERS = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.CodeType,
    types.FrameType,
    asyncio.AbstractEventLoop,
    asyncio.Future,
    Desk,
    Store,
    Tombstones,
)
"""What does not belong to the operator's memory, or has an end that a test of its own shows."""


def kept(*roots: object) -> Counter[str]:
    """How many objects of each type hang on these."""
    counts: Counter[str] = Counter()
    seen = {id(root) for root in roots}
    pending = list(roots)
    while pending:
        holder = pending.pop()
        keys = holder if isinstance(holder, dict) else ()  # the collector need not know keys that are strings
        for each in (*gc.get_referents(holder), *keys):
            if id(each) not in seen and not isinstance(each, _OTHERS):
                seen.add(id(each))
                counts[type(each).__qualname__] += 1
                pending.append(each)
    return counts


def grown(before: Counter[str], after: Counter[str]) -> dict[str, int]:
    counted = {name: after[name] - before[name] for name in after}
    return {name: more for name, more in counted.items() if more > 0 and name not in ("int", "float")}


async def round_of_pods(desk: Desk, names: Iterable[str]) -> None:
    """They get a device each, end, and are collected with their claims."""
    names = list(names)
    desk.create(*(gated(name, templates=["template"]) for name in names))
    await desk.until(lambda: desk.ungated(*names), "devices for all")
    uids = {desk.pod(name).uid for name in names}
    for name in names:
        desk.store.delete(Pod, ObjectKey("default", name), now="2026-01-01T00:00:00Z", force=True)
    await desk.until(lambda: not desk.view.claims, "their claims to go")
    assert not uids & desk.view.pods.keys()
    await asyncio.sleep(60)  # whatever is due later is over
    desk.sent.clear()
    desk.looks.clear()
    desk.notices.clear()


@pytest.mark.parametrize("trouble", [False, True], ids=["all goes well", "writes fail"])
def test_what_is_kept_is_the_same_after_many_pods_as_after_a_few(trouble: bool) -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(4), template())
        sizes = []
        for number in range(6):
            if trouble:
                desk.meets(CreateClaim, Refused(403, "quota"), ANSWER_LOST)
                desk.meets(WriteClaimStatus, ANSWER_LOST, Unknown("reset"))
            await round_of_pods(desk, [f"pod-{number}-{index}" for index in range(4)])
            gc.collect()
            sizes.append(kept(desk.view, desk.engine))
        desk.view.message_written[Uid("one more")] = 0.0
        assert grown(sizes[2], kept(desk.view, desk.engine)) == {"str": 1}  # so it does look into them
        assert grown(sizes[2], sizes[5]) == {}

    play(scenario)


def test_nothing_is_kept_of_pods_that_are_deleted_while_something_is_written_for_them() -> None:
    """Without leader election, where it is remembered for each pod what was written for it."""

    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(1), template())

        async def pods(number: int) -> Counter[str]:
            for moment in range(20):
                name = f"pod-{number}-{moment}"
                desk.create(gated(name, templates=["template"]))
                await asyncio.sleep(0.02 * moment)
                desk.store.delete(Pod, ObjectKey("default", name), now="2026-01-01T00:00:00Z", force=True)
                await desk.until(lambda: not desk.view.pods and not desk.view.claims, "all to go")
            await asyncio.sleep(60)
            desk.sent.clear()
            desk.looks.clear()
            desk.notices.clear()
            gc.collect()
            return kept(desk.view, desk.engine)

        await pods(0)
        before = await pods(1)
        assert grown(before, await pods(2)) == {}

    play(scenario, alone=False)


def test_tombstones_go_ten_minutes_later_and_there_are_never_too_many() -> None:
    gone = Tombstones()
    for number in range(5 * Tombstones.MOST):
        gone.add(Uid(f"burst-{number}"), 1.0)
        assert len(gone) <= 2 * Tombstones.MOST
    assert f"burst-{number}" in gone
    at = 1.0
    for number in range(100):
        at += Tombstones.SECONDS / 10
        gone.add(Uid(f"pod-{number}"), at)
    assert len(gone) <= 20
    assert gone.since(Uid("pod-99")) == at
    assert "pod-89" in gone
    assert "pod-70" not in gone
