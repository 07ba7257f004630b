"""All steps, in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dra_operator.removal.agents import STOP_AGENTS, WITHDRAW_SLICES
from dra_operator.removal.controller import STOP_GATING, STOP_OPERATOR
from dra_operator.removal.manifests import DELETE_NAMESPACE, DELETE_OBJECTS
from dra_operator.removal.steps import Removal, Step, Task, perform, plan
from dra_operator.removal.workloads import FREE_CLAIMS, HAND_OVER_PODS

STEPS: Final[tuple[Step, ...]] = (
    STOP_GATING,
    STOP_OPERATOR,
    FREE_CLAIMS,
    HAND_OVER_PODS,
    STOP_AGENTS,
    WITHDRAW_SLICES,
    DELETE_OBJECTS,
    DELETE_NAMESPACE,
    HAND_OVER_PODS,  # one more look: another API server may have gated a pod a moment longer
)


async def find_plan(removal: Removal) -> list[tuple[str, list[str]]]:
    """Steps that have something to do, and what. Writes nothing."""
    return [(title, tasks) for title, tasks in await plan(removal, STEPS[:-1]) if tasks]


async def uninstall(
    removal: Removal, say: Callable[[str], None], done: Callable[[Task], None] = lambda task: None
) -> None:
    """Raises `RemovalRefused`; starting again goes on."""
    await perform(removal, STEPS, say, done)
