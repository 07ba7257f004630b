"""An agent that cannot do its work any more ends at once: its supervisor starts it anew, and pods need not wait."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from dra_operator.agent.watchdog import EXIT_STATUS
from tests.unit.cluster.apiserver import serving

STANDS_STILL = """
import asyncio, time
from dra_operator.agent.watchdog import guard_event_loop

async def main():
    guard = asyncio.create_task(guard_event_loop(patience=0.8))
    await asyncio.sleep(1.5)  # turning, it is left alone
    print("turned", flush=True)
    time.sleep(3600)

asyncio.run(main())
"""

TURNS = """
import asyncio, sys
from dra_operator.agent.watchdog import guard_event_loop

async def main():
    guard = asyncio.create_task(guard_event_loop(patience=0.8))
    print("turning", flush=True)
    for _ in range(2):
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.sleep(0.8)
    print("turned", flush=True)

asyncio.run(main())
"""

PART_FAILS = """
import asyncio, sys, threading, time
from dra_operator.agent.monitor import HealthMonitor
from dra_operator.cli.main import main

async def fails(self):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)  # a driver call that does not come back
    await asyncio.sleep(0.1)
    raise RuntimeError("a mistake of ours")

HealthMonitor.run = fails
main()
"""


async def run(code: str, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(120):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_an_event_loop_that_stands_still_ends_the_process_with_its_stacks() -> None:
    status, out, err = await run(STANDS_STILL)

    assert (status, out) == (EXIT_STATUS, "turned\n")
    assert "the event loop has stood still for 0.8 s, ending" in err
    assert "time.sleep" in err or 'File "<string>"' in err


async def test_a_process_that_was_suspended_does_not_count_as_standing_still() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", TURNS), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(120):
            assert await process.stdout.readline() == b"turning\n"
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(1.6)  # twice its patience: what is tested is that this passes and nobody notices
            process.send_signal(signal.SIGCONT)
            process.stdin.write(b"\n\n")
            assert await process.stdout.readline() == b"turned\n"
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()


async def test_a_part_that_fails_ends_the_agent_also_while_a_thread_hangs(root: Path) -> None:
    async with serving() as api:
        api.put("/api/v1/nodes/node-a", {"metadata": {"name": "node-a"}})
        cluster = {"name": "c", "cluster": {"server": api.url}}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "users": [{"name": "u", "user": {"token": "none"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (root / "kubeconfig").write_text(json.dumps(config))
        flags = ["--profile=l4", "--node-name=node-a", f"--kubeconfig={root / 'kubeconfig'}", "--log-format=json"]
        place = ["--plugin=on", f"--kubelet-dir={root / 'kubelet'}", f"--cdi-dir={root / 'cdi'}"]

        status, out, err = await run(PART_FAILS, "agent", *flags, *place)

    assert status == 1
    assert "a part of the agent has failed, ending" in out + err
    assert "a mistake of ours" in out + err
