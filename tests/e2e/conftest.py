"""The sandbox that end-to-end tests share: two nodes of two GPUs, and the operator under its own account."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dra_operator.cluster.kubeconfig import connect
from dra_operator.sandbox.state import State
from dra_operator.sandbox.supervisor import start_in_background, take_down
from tests.controlplane import binaries
from tests.e2e.operators import operator
from tests.e2e.stage import Stage, new_stage, stage

OPERATOR = ("--operator", "--operator-flag=--release-hold=0")
"""Tests delete pods by force, and look at what is free right after that."""


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def sandbox(name: str, *flags: str) -> Iterator[State]:
    """A sandbox for the length of a fixture; its name is this test run's own."""
    binaries()
    name = f"{name}-{os.getpid()}"
    try:
        yield start_in_background(name, ["sandbox", "up", "--name", name, *flags], _say)
    finally:
        take_down(name)


@pytest.fixture(scope="session")
def cluster() -> Iterator[State]:
    yield from sandbox("e2e", "--nodes=2", "--gpus=2", "--profile=l4", *OPERATOR, "--operator-flag=--repack-after=2")


@pytest.fixture
async def here(cluster: State) -> AsyncIterator[Stage]:
    """A namespace of the test's own in that sandbox, with all four devices free."""
    async with stage(cluster) as one:
        yield one


@pytest.fixture(scope="session")
def bare() -> Iterator[State]:
    """A sandbox without an operator, for tests that run one themselves."""
    yield from sandbox("bare", "--nodes=2", "--gpus=2", "--profile=l4")


@pytest.fixture
async def there(bare: State, tmp_path: Path) -> AsyncIterator[Stage]:
    """A namespace of the test's own in the bare sandbox; an operator clears it up at the end."""
    async with connect(bare.kubeconfig) as client:
        one = await new_stage(client, bare)
        try:
            yield one
        finally:
            async with operator(bare.operator_kubeconfig, tmp_path / "cleanup.log"):
                await one.clear()
