"""The sweep: what waits is looked at every round, what is settled in turn."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import pytest

from dra_operator.api.core import Pod
from dra_operator.api.meta import Object
from dra_operator.lifecycle.keys import ClaimRef, PodRef, Ref
from dra_operator.lifecycle.sweep import BATCH, Sweep
from tests.builders import claim, pod
from tests.unit.lifecycle.scene import gated, held, view_of


def running(count: int) -> list[Object]:
    """Pods on a node, each with a claim of its own, which it holds."""
    pods = [pod(f"pod-{index}", claims=[f"claim-{index}"], node_name="node-a") for index in range(count)]
    return [*pods, *(held(claim(name=f"claim-{index}"), by=[one]) for index, one in enumerate(pods))]


def refs(batches: Iterable[list[Ref]]) -> set[Ref]:
    return set(chain.from_iterable(batches))


def ref(of: Object) -> Ref:
    return PodRef(of.uid) if isinstance(of, Pod) else ClaimRef(of.key)


RUNS = pod("runs", claims=["x"], node_name="node-a")
ENDED = pod("ended", claims=["x"], node_name="node-a", phase="Succeeded")


@pytest.mark.parametrize(
    "unsettled",
    [
        gated("waiting", claims=["x"]),
        pod("ungated", claims=["x"]),
        pod("lacks-a-claim", claims=["nowhere"], node_name="node-a"),
        pod("lacks-a-generated-claim", templates=["t"], node_name="node-a"),
        gated("gated-for-nothing"),
        claim(name="free"),
        held(claim(name="unused")),
        held(claim(name="left"), by=[ENDED]),
        held(claim(name="half-left"), by=[RUNS, ENDED]),
        held(claim(name="of-nobody-known"), by=[pod("stranger")]),
        held(claim(name="deleted", deleted=True), by=[RUNS]),
    ],
    ids=lambda it: it.metadata.name,
)
def test_what_waits_or_has_to_be_taken_away_is_looked_at_every_round(unsettled: Object) -> None:
    sweep = Sweep(view_of(RUNS, ENDED, unsettled), settled_a_round=1)
    assert sweep.parts > 1
    assert all(ref(unsettled) in refs(sweep.round()) for _ in range(2 * sweep.parts))


@pytest.mark.parametrize(
    "lacking",
    [claim(name="y"), held(claim(name="y")), held(claim(name="y"), by=[pod("another")])],
    ids=["allocated", "reserved", "reserved for it"],
)
def test_a_pod_that_runs_and_whose_claim_is_not_is_looked_at_every_round(lacking: Object) -> None:
    unsettled = pod("unsettled", claims=["y"], node_name="node-a")
    sweep = Sweep(view_of(RUNS, unsettled, lacking), settled_a_round=1)
    assert all(ref(unsettled) in refs(sweep.round()) for _ in range(2 * sweep.parts))


def test_a_pod_without_claims_and_gates_is_nobodys_business() -> None:
    sweep = Sweep(view_of(pod("plain")))
    assert refs(sweep.everything()) == refs(sweep.round()) == set()


def test_what_is_settled_is_looked_at_in_turn_and_all_of_it_in_as_many_rounds_as_there_are_parts() -> None:
    everything = running(200)
    sweep = Sweep(view_of(*everything), settled_a_round=50)
    assert sweep.parts == 8
    rounds = [refs(sweep.round()) for _ in range(sweep.parts)]
    assert sum(map(len, rounds)) == len(set().union(*rounds)) == len(everything)
    assert max(map(len, rounds)) < 2 * 50


def test_where_there_is_little_every_round_looks_at_all_of_it() -> None:
    everything = running(10)
    sweep = Sweep(view_of(*everything))
    assert refs(sweep.round()) == refs(sweep.round()) == refs(sweep.everything()) == {ref(it) for it in everything}


def test_others_have_their_turn_between_batches_and_the_view_may_change_there() -> None:
    view = view_of(*running(BATCH + 1))
    batches = Sweep(view).everything()
    seen = 0
    for batch in batches:
        assert len(batch) <= BATCH
        seen += len(batch)
        view.observe_pod(pod(f"new-{seen}", claims=["x"]))
        view.forget_pod(next(iter(view.pods)), certain=True)
    assert seen >= 2 * BATCH
