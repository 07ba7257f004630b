"""The checkpoint over restarts: what is kept, what another boot ends, and what is of no use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dra_operator.agent.checkpoint import FILE_NAME
from tests.agent.bench import Bench, bench, gpus


def _damage(text: str) -> str:
    return text.replace('"gpu-1"', '"gpu-2"')


def _truncate(text: str) -> str:
    return text[: len(text) // 2]


def _damage_newest(text: str) -> str:
    """The state before the last one is whole: it must not be taken for the last one."""
    newest = max(text.splitlines(), key=lambda line: int(json.loads(line)["number"]))
    return text.replace(newest, newest.replace("completed", "complete!"))


def _newer(text: str) -> str:
    return text.replace('"version":2', '"version":3')


def _longer(text: str) -> str:
    return text + text


def _empty(text: str) -> str:
    return ""


def _other(text: str) -> str:
    return "[1, 2, 3]"


@pytest.mark.parametrize(
    ("spoil", "kept_as"),
    [
        (_damage, "corrupt"),
        (_damage_newest, "corrupt"),
        (_truncate, "corrupt"),
        (_longer, "corrupt"),
        (_empty, "corrupt"),
        (_other, "corrupt"),
        (_newer, "newer"),
    ],
)
async def test_a_file_of_no_use_is_moved_aside_and_made_anew(
    node: Bench, spoil: Callable[[str], str], kept_as: str
) -> None:
    """Also for a claim that the API server has not any more: containers may still run with its devices."""
    claim, deleted, late = node.claim("one", "gpu-1"), node.claim("deleted", "gpu-3"), node.claim("late", "gpu-3")
    await node.prepare(claim, deleted)
    before = node.checkpoint()
    node.api.objects.pop("/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/deleted")
    file = node.folder / FILE_NAME
    spoilt = spoil(file.read_text())
    file.write_text(spoilt)

    await node.restart()

    assert (node.folder / f"{FILE_NAME}.{kept_as}").read_text() == spoilt
    assert sorted(node.checkpoint().claims, key=lambda one: one.name) == sorted(before.claims, key=lambda one: one.name)
    assert "still prepared for another claim" in (await node.prepare(late))["late"].error
    assert await node.unprepare(claim, deleted) == {"one": "", "deleted": ""}
    assert node.specs() == []


async def test_a_state_that_is_only_half_written_leaves_the_one_before(node: Bench) -> None:
    """Whatever a kill leaves of a slot: a start finds the last answer that was given, or makes it from the specs."""
    claim, other = node.claim("one", "gpu-1"), node.claim("other", "gpu-2")
    await node.prepare(claim)
    file = node.folder / FILE_NAME
    before = file.read_bytes()
    await node.prepare(other)
    await node.unprepare(other)
    changed = [at for at, (old, new) in enumerate(zip(before, file.read_bytes(), strict=True)) if old != new]
    for cut in range(changed[0], changed[-1], max(1, len(changed) // 20)):
        await node.stop()
        file.write_bytes(file.read_bytes()[:cut] + before[cut:])
        await node.start()
        assert node.prepared() == ["one"]
        assert node.specs() == [node.spec_name(claim)]


async def test_a_call_costs_one_flush_and_no_file_comes_or_goes_but_the_claims_own(root: Path) -> None:
    """Two commits of a file system's journal would be most of the time that a prepare takes."""
    steps: list[str] = []
    async with bench(root, steps.append) as node:
        claim = node.claim("one", "gpu-1")
        await node.prepare(claim)
        await node.unprepare(claim)
        steps.clear()

        await node.prepare(claim)

        assert [step for step in steps if step.startswith("flush")] == [f"flush {FILE_NAME}"]
        assert steps[-1] == f"flush {FILE_NAME}", "what is answered for is on disk"
        assert sorted(step for step in steps if step.startswith("rename")) == [
            f"rename to {claim['metadata']['uid']}_gpu.json",
            f"rename to {node.spec_name(claim)}",
        ]
        steps.clear()

        await node.unprepare(claim)

        assert [step for step in steps if step.startswith(("flush", "rename"))] == [f"flush {FILE_NAME}"]
        assert steps[-1] == f"flush {FILE_NAME}"


async def test_claims_that_need_more_room_get_it(node: Bench) -> None:
    """Fifty fit from the start."""
    node.devices = gpus(120)
    claims = [node.claim(f"claim-{index}", f"gpu-{index}") for index in range(120)]
    small = (await node.prepare(claims[0]), (node.folder / FILE_NAME).stat().st_size)[1]

    answers = await node.prepare(*claims)
    await node.restart()

    assert all(answer.error == "" for answer in answers.values())
    assert (node.folder / FILE_NAME).stat().st_size > small
    assert len(node.prepared()) == 120
    assert set((await node.unprepare(*claims)).values()) == {""}


async def test_a_file_that_is_gone_is_made_anew_while_the_agent_runs(node: Bench) -> None:
    claim, late = node.claim("one", "gpu-1"), node.claim("late", "gpu-1")
    await node.prepare(claim)
    (node.folder / FILE_NAME).unlink()

    assert "still prepared for another claim" in (await node.prepare(late))["late"].error
    assert node.prepared() == ["one"]


async def test_after_another_boot_nothing_is_prepared(node: Bench) -> None:
    claim, late = node.claim("one", "gpu-1"), node.claim("late", "gpu-1")
    await node.prepare(claim)
    node.boot = "boot-2"

    await node.restart()

    assert node.prepared() == []
    assert node.specs() == []
    assert (await node.prepare(late))["late"].error == ""


async def test_specs_of_another_boot_say_nothing_when_the_file_is_gone(node: Bench) -> None:
    await node.prepare(node.claim("one", "gpu-1"))
    (node.folder / FILE_NAME).unlink()
    node.boot = "boot-2"

    await node.restart()

    assert node.prepared() == []
    assert node.specs() == []


async def test_a_start_removes_what_is_stale_and_puts_back_what_is_gone(node: Bench) -> None:
    claim = node.claim("one", "gpu-1")
    await node.prepare(claim)
    spec = node.spec(claim)
    (node.cdi / node.spec_name(claim)).unlink()
    stale = node.cdi / node.spec_name(node.unknown())
    stale.write_text("{}")
    foreign = node.cdi / "vendor.example.com-gpu.json"
    foreign.write_text("{}")
    (node.cdi / f".{stale.name}.tmp").write_text("half")
    (node.folder / f".{FILE_NAME}.tmp").write_text("half")

    await node.restart()

    assert node.specs() == sorted([foreign.name, node.spec_name(claim)])
    assert node.spec(claim) == spec
    assert not list(node.folder.glob(".*"))


async def test_two_agents_of_a_rolling_update_know_what_the_other_did(node: Bench) -> None:
    claim, other = node.claim("one", "gpu-1"), node.claim("other", "gpu-1")
    await node.stop()
    old, new = (Bench(node.root, node.api, pod_uid=f"pod-{name}") for name in ("old", "new"))
    await old.start()
    await new.start()
    try:
        first = await old.prepare(claim)
        assert await new.prepare(claim) == first
        assert "still prepared for another claim" in (await new.prepare(other))["other"].error
        assert await new.unprepare(claim) == {"one": ""}
        assert (await old.prepare(other))["other"].error == ""
        assert old.prepared() == ["other"]
    finally:
        await new.stop()
        await old.stop()
