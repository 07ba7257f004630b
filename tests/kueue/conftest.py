"""A sandbox as users have clusters, with kube-controller-manager's generator of claims on, and Kueue beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from dra_operator.sandbox.state import State
from tests.e2e.conftest import OPERATOR, sandbox
from tests.e2e.stage import Stage, stage
from tests.kueue.manager import program


@pytest.fixture(scope="session")
def cluster() -> Iterator[State]:
    """Two nodes of two GPUs."""
    if not program().exists():
        pytest.skip("Kueue is not there: `make e2e-kueue` builds it")
    yield from sandbox("kueue", "--nodes=2", "--gpus=2", "--profile=l4", "--resourceclaim-controller", *OPERATOR)


@pytest.fixture
async def here(cluster: State) -> AsyncIterator[Stage]:
    """A namespace of the test's own in it, with all four devices free."""
    async with stage(cluster) as one:
        yield one
