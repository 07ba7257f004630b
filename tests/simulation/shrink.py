"""A scenario that fails, made as small as it still fails.

Operations are left out in ever smaller groups, then kinds of faults, then what makes the cluster larger, as long as the
same invariant is violated, whichever objects it is about. The result is printed with its trace.

Upstream: the ddmin algorithm of delta debugging (Zeller, Hildebrandt).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

from tests.simulation.bugs import Bug
from tests.simulation.run import Report, run_scenario
from tests.simulation.scenario import Scenario
from tests.simulation.wire import Rates

TRIES = 250


def shrink(scenario: Scenario, bug: Bug | None = None, tries: int = TRIES) -> str:
    """The small scenario, what happened in it, and what is wrong with that."""
    wanted = _invariant(run_scenario(scenario, bug))
    if wanted is None:
        return "the scenario does not fail"
    left = tries
    changed = True
    while changed and left > 0:
        changed = False
        for smaller in _smaller(scenario):
            left -= 1
            if left <= 0:
                break
            if _invariant(run_scenario(smaller, bug)) == wanted:
                scenario, changed = smaller, True
                break
    report = run_scenario(scenario, bug, trace=True)
    return "\n".join(["the smallest that still fails:", str(scenario), "", *_told(report)])


def _invariant(report: Report) -> str | None:
    """The violation without its objects, devices and numbers, nor what somebody was told."""
    if report.violation is None:
        return None
    words = report.violation.partition(", told")[0].split()
    return " ".join(word for word in words if "/" not in word and word.strip(",:()").isalpha())


def _told(report: Report) -> Iterator[str]:
    yield from report.trace
    yield f"violation: {report.violation}"


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    ops = scenario.ops
    size = max(1, len(ops) // 2)
    while ops and size >= 1:
        for start in range(0, len(ops), size):
            yield replace(scenario, ops=(*ops[:start], *ops[start + size :]))
        size //= 2
    for one in fields(Rates):
        if getattr(scenario.rates, one.name):
            yield replace(scenario, rates=replace(scenario.rates, **{one.name: 0.0}))
    if scenario.replicas > 1:
        yield replace(scenario, replicas=1)
    if scenario.leader_elect:
        yield replace(scenario, leader_elect=False)
    if scenario.generator:
        yield replace(scenario, generator=False, claims_mode="generate")
    if scenario.release_hold:
        yield replace(scenario, release_hold=0.0)
    for index in range(len(scenario.nodes)):
        if len(scenario.nodes) > 1:
            yield replace(scenario, nodes=(*scenario.nodes[:index], *scenario.nodes[index + 1 :]))
