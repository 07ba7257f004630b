"""The command blocks of README and docs that need a cluster, page by page and in order, on the shared sandbox."""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

import pytest

from dra_operator.api.kinds import CLAIMS
from dra_operator.sandbox.state import State
from tests.e2e.stage import Stage, until
from tests.pages import PAGES, Page, read_page

READ = [page for page in map(read_page, PAGES) if any(block.where == "cluster" for block in page.blocks)]
SECONDS = 120.0


@pytest.mark.parametrize("page", READ, ids=lambda page: page.name)
async def test_the_commands_of_a_page(here: Stage, cluster: State, page: Page, tmp_path: Path) -> None:
    for name, text in page.files.items():
        (tmp_path / name).write_text(text)
    folders = [str(Path(sys.executable).parent), str(Path(cluster.kubectl).parent), os.environ["PATH"]]
    environment = os.environ | {"PATH": os.pathsep.join(folders), "KUBECONFIG": str(cluster.kubeconfig)}
    for block in page.blocks:
        if block.where != "cluster":
            continue
        for number, command in enumerate(block.commands, start=1):
            async with asyncio.timeout(SECONDS):
                ran = await asyncio.create_subprocess_exec(
                    "bash",
                    "-c",
                    command,
                    cwd=tmp_path,
                    env=environment,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                )
                out, _ = await ran.communicate()
            wanted = block.exit_code if number == len(block.commands) else 0
            assert ran.returncode == wanted, f"{block.page}:{block.line}: {command}\n{out.decode()}"
    await until(lambda: "claims are still allocated after the page's last command", partial(all_free, here))


async def all_free(here: Stage) -> bool:
    """Whether nothing is allocated anywhere: the next test counts on all devices."""
    claims, _ = await here.client.list_objects(CLAIMS)
    return all(claim.status.allocation is None for claim in claims)
