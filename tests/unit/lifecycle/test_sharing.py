"""Who may join the write that reserves a shared claim."""

from __future__ import annotations

from dra_operator.lifecycle.sharing import find_sharers
from tests.builders import claim, pod
from tests.unit.lifecycle.scene import PROTECTED, gated, gpus, held, look, view_of


def test_who_comes_to_a_claim_brings_those_who_lack_it_too() -> None:
    comes, runner, other = gated("comes", claims=["ours"]), pod("runner", claims=["ours"]), gated("z", claims=["ours"])
    view = view_of(*gpus(), comes, runner, other, held(claim(name="ours", finalizers=PROTECTED), by=[runner]))
    assert list(find_sharers(view, comes.uid, look(view, comes))) == [other.uid]


def test_nobody_joins_a_pod_that_gives_up_its_place() -> None:
    """What others would write still has that pod in it."""
    leaves, runner = gated("leaves", claims=["ours", "missing"]), pod("runner", claims=["ours"], node_name="node-a")
    ours = held(claim(name="ours", finalizers=PROTECTED), by=[leaves, runner])
    view = view_of(*gpus(), leaves, runner, ours, gated("comes", claims=["ours"]))
    verdict = look(view, leaves)
    assert verdict.actions, "it leaves"
    assert list(find_sharers(view, leaves.uid, verdict)) == []
