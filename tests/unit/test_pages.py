"""Every command block of README and docs is run by a test; those that need no cluster are run here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ELSEWHERE, PAGES, ROOT, Block, Page, found_elsewhere, read_page

READ = [read_page(path) for path in PAGES]
OFFLINE = [(page, block) for page in READ for block in page.blocks if block.where == "offline"]


def test_every_block_says_who_runs_it_or_is_known_to_be_run() -> None:
    unknown = [
        f"{block.page}:{block.line}: `{command}`"
        for page in READ
        for block in page.blocks
        if not block.where
        for command in block.commands
        if found_elsewhere(command) is None
    ]
    cure = "put <!-- run: offline --> or <!-- run: cluster --> before the block, or name its test in tests/pages.py"
    assert not unknown, "\n".join([*unknown, cure])


def test_the_tests_that_run_other_blocks_exist() -> None:
    assert [test for test in ELSEWHERE.values() if not (ROOT / test).exists()] == []


@pytest.mark.parametrize(
    ("page", "block"), OFFLINE, ids=lambda one: f"{one.page}:{one.line}" if isinstance(one, Block) else ""
)
def test_a_block_that_needs_no_cluster(page: Page, block: Block, tmp_path: Path) -> None:
    for name, text in page.files.items():
        (tmp_path / name).write_text(text)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for number, command in enumerate(block.commands, start=1):
        ran = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True
        )
        wanted = block.exit_code if number == len(block.commands) else 0
        assert ran.returncode == wanted, f"{command}\n{ran.stdout}{ran.stderr}"
        assert "Traceback" not in ran.stderr


def test_the_reference_is_what_the_code_says() -> None:
    ran = subprocess.run([sys.executable, ROOT / "tools" / "docs.py", "--check"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
