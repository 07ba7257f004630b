"""An agent for each test. Its folder is short: the path of a socket may have 107 bytes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.agent.bench import Bench, bench


@pytest.fixture
def root() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="dra-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def node(root: Path) -> AsyncIterator[Bench]:
    async with bench(root) as one:
        yield one
