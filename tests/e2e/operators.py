"""Operators that a test starts and ends itself, as a user would: the installed command, or `kopf run`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from dra_operator.sandbox.processes import Process, start
from tests.e2e.stage import until

RUN = (sys.executable, "-m", "dra_operator.cli.main", "run")
KOPF_RUN = (sys.executable, "-m", "kopf", "run", "--module=dra_operator.handlers", "--all-namespaces", "--quiet")
FLAGS = ("--no-leader-elect", "--log-format=json", "--claims=generate")


def launch(kubeconfig: Path | str, log: Path, flags: Sequence[str] = FLAGS) -> Process:
    """Start `dra-operator run`. Tests delete pods by force, and look at what is free right after that."""
    hold = [] if any(flag.startswith("--release-hold") for flag in flags) else ["--release-hold=0"]
    return start("operator", [*RUN, f"--kubeconfig={kubeconfig}", *hold, *flags], log)


@asynccontextmanager
async def operator(kubeconfig: Path | str, log: Path, flags: Sequence[str] = FLAGS) -> AsyncIterator[Process]:
    """`dra-operator run` for the length of the block."""
    process = launch(kubeconfig, log, flags)
    try:
        yield process
    finally:
        await process.stop()


async def leading(process: Process) -> None:
    """Wait until it decides."""

    async def there() -> bool:
        process.check()
        return '"leading"' in process.log.read_text(errors="replace")

    await until(lambda: f"the operator does not lead:\n{process.log.read_text(errors='replace')[-2000:]}", there, 60.0)
