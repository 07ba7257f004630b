"""A task that nobody awaits does not fail unseen."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from dra_operator.controller.tasks import find_ended, start_task
from tests.virtual_loop import run_virtual


async def fail() -> None:
    raise ValueError("a token of two lines")


async def go_on() -> None:
    await asyncio.sleep(3600)


def test_a_task_that_fails_is_logged_and_found() -> None:
    async def main() -> None:
        with capture_logs() as lines:
            failing, going = start_task(fail()), start_task(go_on())
            await asyncio.wait([failing])
            await asyncio.sleep(0)  # for what is called when it is done
        [line] = lines
        assert (line["log_level"], line["task"], repr(line["exc_info"])) == (
            "error",
            "fail",
            "ValueError('a token of two lines')",
        )
        assert find_ended([going, failing]) == "a task has ended: fail: ValueError('a token of two lines')"
        assert find_ended([going]) is None

    run_virtual(main())


def test_a_task_that_is_cancelled_is_found_where_it_is_wanted_and_not_logged() -> None:
    async def main() -> None:
        with capture_logs() as lines:
            task = start_task(go_on())
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(0)
        assert lines == []
        assert find_ended([task]) == "a task has ended: go_on: cancelled"

    run_virtual(main())
