"""The command blocks of README and docs: what is in them, and who runs them.

Before a ```console block stands who runs it, in a comment that readers do not see:

    <!-- run: offline -->           without a cluster, in a folder with the page's files
    <!-- run: cluster exit=1 -->    on a cluster with the operator; the last command ends with this code

A block without such a comment is run elsewhere: each of its lines has to be in `ELSEWHERE`, beside the test that runs
it. Files of a page are ```yaml blocks with `file=NAME` behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_SHELLS: Final = frozenset({"console", "bash", "sh", "shell"})
_RUN = re.compile(r"<!-- run: (offline|cluster)(?: exit=(\d))? -->")
_FENCE = re.compile(r"^```(\w*)(?: file=(\S+))?\s*$")

ELSEWHERE: Final = {
    r"make demo( KEEP=1)?": "tests/integration/test_sandbox.py",
    r"make (test|check|setup|conformance|bench\S*|fuzz|docs|help|image)\b.*": "Makefile",
    r"(\.venv/bin/)?dra-operator sandbox .*": "tests/integration/test_sandbox.py",
    r"(\.venv/bin/)?dra-operator run\b.*": "tests/e2e/test_crash.py",
    r"(\.venv/bin/)?dra-operator agent\b.*": "tests/unit/agent/test_start.py",
    r"dra-operator doctor": "tests/e2e/test_doctor.py",
    r"dra-operator uninstall( --dry-run)?": "tests/e2e/test_uninstall.py",
    r"kopf run .*": "tests/e2e/test_kopf_run.py",
    r"kubectl apply -k manifests/.*": "tests/integration/test_manifests.py",
    r"kubectl -n dra-operator patch secret dra-operator-webhook .*": "tests/integration/test_webhook_replicas.py",
    r"kubectl apply -f examples/.*": "tests/integration/test_examples.py",
}
"""Commands by pattern, and the test (or the file whose tests) that runs them."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block of commands."""

    page: str
    line: int
    commands: tuple[str, ...]
    where: str
    """`offline`, `cluster`, or empty."""
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    path: Path
    files: dict[str, str]
    blocks: tuple[Block, ...]

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))


def read_page(path: Path) -> Page:
    """The files and blocks of a page, in order."""
    files: dict[str, str] = {}
    blocks: list[Block] = []
    name = str(path.relative_to(ROOT))
    for number, kind, file, body, comment in _fences(path.read_text().splitlines()):
        if file:
            files[file] = body
        if kind in _SHELLS:
            match = _RUN.fullmatch(comment)
            where, code = (match[1], int(match[2] or 0)) if match else ("", 0)
            blocks.append(Block(name, number, tuple(_commands(body)), where, code))
    return Page(path, files, tuple(blocks))


def _fences(lines: list[str]) -> Iterator[tuple[int, str, str, str, str]]:
    """Line number, language, file name, body, and the line before."""
    start: int | None = None
    match: re.Match[str] | None = None
    for number, line in enumerate(lines):
        if start is None:
            match = _FENCE.match(line)
            start = number if line.startswith("```") else None
        elif line.startswith("```"):
            if match is not None:
                comment = lines[start - 1].strip() if start else ""
                yield start + 1, match[1], match[2] or "", "\n".join(lines[start + 1 : number]) + "\n", comment
            start = None


def _commands(body: str) -> Iterator[str]:
    """Commands without their prompt; a line that ends with a backslash goes on."""
    for line in body.replace("\\\n", " ").splitlines():
        command = line.strip().removeprefix("$ ")
        if command and not command.startswith("#"):
            yield command


def found_elsewhere(command: str) -> str | None:
    """The test that runs a command which stands in a block without a comment."""
    bare = command.partition(" #")[0].strip()
    return next((test for pattern, test in ELSEWHERE.items() if re.fullmatch(pattern, bare)), None)
