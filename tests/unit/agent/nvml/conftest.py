"""NVML in this process: the fake library, loaded from its folder as from a driver that is mounted there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dra_operator.agent.gpu import Naming
from dra_operator.agent.nvml.library import Library
from dra_operator.agent.nvml.source import NvmlSource
from tests.nvml import FakeNode, build_library, fake_node

MakeNode = Callable[..., FakeNode]
MakeSource = Callable[..., NvmlSource]


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeNode:
    """`node(profile, gpus=2)`: this process now runs on such a node."""

    def make(profile: str = "h100-sxm-80gb", gpus: int | None = None) -> FakeNode:
        made = fake_node(tmp_path, profile, gpus=gpus)
        monkeypatch.setenv("FAKE_NVML", str(made.file))
        return made

    return make


@pytest.fixture
def source(nvml_library: Path) -> Iterator[MakeSource]:
    """`source(node)`: its GPUs. Sessions end with the test."""
    libraries: list[Library] = []

    def make(node: FakeNode, naming: Naming = Naming.OWN, **more: object) -> NvmlSource:
        library = Library(driver_root=nvml_library.parent)
        libraries.append(library)
        return NvmlSource(library, naming, sysfs=node.sysfs, **more)  # type: ignore[arg-type]

    yield make
    for library in libraries:
        library.close()
