"""What our allocator makes of a case whose answers are known: everything that differs from them.

Stricter than the rule of the golden vectors where that is possible: with `first` the devices must be the same, and the
node must be the first that serves. With best fit devices and node may be others, and so may everything be on a node
that is sensitive to order; what is given must be right all the same. The alternatives of firstAvailable may be better
ones: the library does not take back an earlier request's device for the sake of a better alternative, best fit may
have chosen another one from the start.

Each is asked of a new allocator and of one with a past. Where the library gave up, after its time limit, there is
nothing to compare with; ours is then only checked. Where ours gave up, after its steps, it says so and is no difference
but counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from dra_operator.allocation.allocator import Allocator
from dra_operator.allocation.outcome import Allocated, AllocationError, Unschedulable
from dra_operator.allocation.place import Decision
from dra_operator.allocation.strategy import Strategy
from dra_operator.api.codec import convert, to_plain
from dra_operator.api.core import Node
from dra_operator.api.resource import ResourceClaim
from tests.conformance.allocation_checker import check
from tests.conformance.allocator_vectors import ALLOCATED, ERROR, UNSCHEDULABLE, Verdict, allocator_of, run_case
from tests.fuzz.history import aged, decide

Json = Any


class Comparison(NamedTuple):
    """`differences`: one line for each answer of ours, from the first kind of allocator that has any."""

    differences: list[str]
    given_up: int
    """On how many nodes our search gave up, the worst kind of allocator counts."""


def compare(case: Json) -> Comparison:
    given_up = 0
    for strategy in (Strategy.FIRST, Strategy.BEST_FIT):
        for kind in ("new", "with a past"):
            allocator = allocator_of(case, strategy) if kind == "new" else aged(case, strategy, seed=1)
            decision = decide(case, allocator)
            verdicts = run_case(case, allocator).nodes
            given_up = max(given_up, sum(map(_lost_patience, verdicts)))
            if lines := list(_differences(case, allocator, verdicts, decision)):
                return Comparison([f"{case['id']} ({strategy}, {kind}) {line}" for line in lines], given_up)
    return Comparison([], given_up)


def differences(case: Json) -> list[str]:
    return compare(case).differences


def _lost_patience(verdict: Verdict) -> bool:
    return verdict.got == ERROR and "the search was given up" in verdict.message


def gave_up(answer: Json) -> bool:
    """Whether the library ran out of time."""
    return "timed out trying to allocate devices" in answer.get("error", "")


def _differences(case: Json, allocator: Allocator, verdicts: Sequence[Verdict], decision: Decision) -> Iterator[str]:
    for verdict in verdicts:
        if allocator.strategy is not Strategy.FIRST and _is_better(case, verdict.node, allocator):
            continue
        if difference := _difference(case["want"]["nodes"][verdict.node], verdict, allocator.strategy):
            yield f"{verdict.node}: {difference}"
    possible = set(_decisions(case["want"]["nodes"], allocator.strategy))
    if any(map(_lost_patience, verdicts)):
        possible.clear()
    if possible and _describe(decision) not in possible:
        yield f"place: {_describe(decision)}, possible are {sorted(possible)}"


def _is_better(case: Json, name: str, allocator: Allocator) -> bool:
    """Whether the allocation for the node is right, and has alternatives that come earlier than the library's."""
    (node,) = (node for node in case["nodes"] if node["metadata"]["name"] == name)
    outcome = allocator.allocate([convert(claim, ResourceClaim) for claim in case["claims"]], convert(node, Node))
    theirs = case["want"]["nodes"][name]
    if not isinstance(outcome, Allocated) or theirs["outcome"] != ALLOCATED:
        return False
    ours = [to_plain(allocation) for allocation in outcome.allocations]
    better = _preference(case, ours) < _preference(case, theirs.get("allocations") or [])
    return better and not check(case, node, ours)


def _preference(case: Json, allocations: list[Json]) -> int:
    """The indexes of the chosen alternatives, summed up, as kube-scheduler scores nodes."""
    total = 0
    for claim, allocation in zip(case["claims"], allocations, strict=True):
        chosen = {result["request"] for result in allocation["devices"].get("results") or ()}
        for request in claim["spec"]["devices"].get("requests") or ():
            for index, alternative in enumerate(request.get("firstAvailable") or ()):
                total += index * (f"{request['name']}/{alternative['name']}" in chosen)
    return total


def _difference(answer: Json, verdict: Verdict, strategy: Strategy) -> str:
    by_order = strategy is not Strategy.FIRST and verdict.order_sensitive
    if _lost_patience(verdict):
        return ""
    if verdict.wanted != verdict.got and not by_order and not gave_up(answer):
        return f"{verdict.wanted}, ours {verdict.got}{verdict.message}"
    if verdict.problems and not by_order:
        return "; ".join(verdict.problems)
    if strategy is Strategy.FIRST and verdict.got == verdict.wanted == ALLOCATED and not verdict.same_devices:
        return "other devices"
    return ""


def _decisions(answers: Json, strategy: Strategy) -> Iterator[str]:
    """What may become of a pod: the node it gets, an error, or neither. Nothing where that is not known."""
    if any(gave_up(answer) for answer in answers.values()):
        return
    if strategy is Strategy.FIRST:
        ordered = ((name, answers[name]["outcome"]) for name in sorted(answers))
        name, outcome = next((one for one in ordered if one[1] != UNSCHEDULABLE), ("", UNSCHEDULABLE))
        yield name if outcome == ALLOCATED else outcome
        return
    if any(answer.get("orderSensitive") for answer in answers.values()):
        return
    for name, answer in answers.items():
        if answer["outcome"] != UNSCHEDULABLE:
            yield name if answer["outcome"] == ALLOCATED else ERROR
    if all(answer["outcome"] == UNSCHEDULABLE for answer in answers.values()):
        yield UNSCHEDULABLE


def _describe(decision: Decision) -> str:
    if isinstance(decision, AllocationError):
        return ERROR
    return UNSCHEDULABLE if isinstance(decision, Unschedulable) else decision.node
