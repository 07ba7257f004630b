"""One cluster for each flavour, a namespace for each test, and the table of what held where."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from dra_operator.cluster.http import ApiError
from tests.e2e.stage import Stage, new_stage, until
from tests.e2e.suite.flavours import Flavour, chosen
from tests.e2e.suite.ground import Ground, installed

_SUITE = Path(__file__).parent
_outcomes: dict[str, dict[str, str]] = {}
"""By scenario and flavour."""


@pytest_asyncio.fixture(scope="package", loop_scope="package", params=chosen(), ids=lambda one: one.name)
async def ground(request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    flavour: Flavour = request.param
    async with installed(flavour) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="package")
async def here(ground: Ground) -> AsyncIterator[Stage]:
    """A namespace of the test's own there; at the end its pods are gone and every device is free again."""
    stage = await namespace(ground)
    try:
        yield stage
    finally:
        await stage.clear()


async def namespace(ground: Ground) -> Stage:
    """A new namespace in which pods can be created: they need its account."""
    stage = await new_stage(ground.admin)
    path = f"/api/v1/namespaces/{stage.namespace}/serviceaccounts/default"

    async def has_account() -> bool:
        try:
            await ground.admin.request("GET", path)
        except ApiError:
            return False
        return True

    await until(lambda: f"namespace {stage.namespace} has no account", has_account)
    return stage


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if not (report.when == "call" or report.failed or report.skipped) or "/suite/" not in report.nodeid:
        return
    name, _, parameters = report.nodeid.rpartition("::")[2].partition("[")
    flavour = parameters.rstrip("]")
    if flavour:
        seconds = f" {report.duration:.1f} s" if report.passed else ""
        _outcomes.setdefault(name.removeprefix("test_").replace("_", " "), {})[flavour] = report.outcome + seconds


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    flavours = list(dict.fromkeys(flavour for row in _outcomes.values() for flavour in row))
    if not flavours:
        return
    widths = [max(len(flavour), 12) for flavour in flavours]
    first = max(len(name) for name in _outcomes)
    terminalreporter.section("scenarios x flavours")
    terminalreporter.write_line("  ".join(["".ljust(first), *map(str.ljust, flavours, widths)]))
    for name, row in _outcomes.items():
        cells = (row.get(flavour, "-").ljust(width) for flavour, width in zip(flavours, widths, strict=True))
        terminalreporter.write_line("  ".join([name.ljust(first), *cells]))
