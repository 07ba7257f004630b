"""Half a minute of chaos in every test run; `make chaos MINUTES=10` is the long one."""

from __future__ import annotations

import pytest

from tests.chaos.run import run

MINUTES = 0.5


async def test_nothing_is_lost_leaked_or_given_twice(capsys: pytest.CaptureFixture[str]) -> None:
    report = await run(MINUTES, 7, print)
    with capsys.disabled():
        print(f"\n{report}")
    assert report.good, str(report)
    assert report.pods["pods let go"] > 0
    assert report.faults.total() > 0
    assert report.befell.total() > 0
