"""Where the programs of a cluster come from. The Go here is a script that notes how it was called."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dra_operator.sandbox.binaries import (
    DEFAULT_RELEASE,
    PROGRAMS,
    RELEASES,
    BinariesError,
    cache_folder,
    find_binaries,
    source_folder,
)

BUILDS = """#!/bin/sh
case $1 in list) exit 0;; esac
echo "$@" >> "$CALLS"
while [ "$1" != -o ]; do shift; done
echo program > "$2"
"""
FAILS = """#!/bin/sh
case $1 in list) exit 0;; esac
echo "main.go:1: something is wrong"
exit 1
"""
HANGS = """#!/bin/sh
case $1 in list) exit 0;; esac
sleep 600 &
echo $! > "$CALLS"
wait
"""
ENDS_ITS_PARENT = """#!/bin/sh
case $1 in list) exit 0;; esac
echo $$ >> "$CALLS"
kill -TERM $PPID
exec sleep 600
"""
TOO_OLD = """#!/bin/sh
exit 1
"""


class Ground:
    """A machine with its own cache, sources and PATH."""

    def __init__(self, folder: Path) -> None:
        self.calls = folder / "calls"
        self.bin = folder / "bin"
        self.source = folder / "source"
        self.cache = folder / "cache"
        self.said: list[str] = []
        self.bin.mkdir()
        self.source.mkdir()
        for name in ("main.go", "go.mod", "go.sum"):
            (self.source / name).write_text(name)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "XDG_CACHE_HOME": str(self.cache),
            "DRA_OPERATOR_CONTROLPLANE_SOURCE": str(self.source),
            "CALLS": str(self.calls),
        }

    def install_go(self, script: str) -> None:
        (self.bin / "go").write_text(script)
        (self.bin / "go").chmod(0o755)

    def find(self) -> Path:
        return find_binaries(self.said.append)

    def builds(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0

    def leftovers(self) -> list[Path]:
        return list(self.cache.glob("dra-operator/*.tmp"))


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    one = Ground(tmp_path)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("DRA_OPERATOR_CONTROLPLANE_VERSION", raising=False)
    for name, value in one.environment.items():
        monkeypatch.setenv(name, value)
    return one


def test_a_folder_that_is_named_comes_before_the_cache(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    assets = ground.cache / "assets"
    assets.mkdir(parents=True)
    for name in ("etcd", "kube-apiserver", "kubectl"):
        (assets / name).touch()
    ground.install_go(BUILDS)
    ground.find()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))

    assert ground.find() == assets


def test_a_folder_that_is_named_and_lacks_a_program_is_an_error(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(ground.bin))

    with pytest.raises(BinariesError, match="lacks etcd, kube-apiserver, kubectl"):
        ground.find()


def test_a_build_is_made_once_and_holds_every_program(ground: Ground) -> None:
    ground.install_go(BUILDS)

    folder = ground.find()

    assert ground.find() == folder
    assert ground.builds() == 1
    assert [(folder / name).read_text() for name in PROGRAMS] == ["program\n"] * len(PROGRAMS)


def test_other_sources_are_another_build(ground: Ground) -> None:
    ground.install_go(BUILDS)
    first = ground.find()
    (ground.source / "go.mod").write_text("changed")

    assert ground.find() != first
    assert ground.builds() == 2


@pytest.mark.parametrize("name", [name for name in RELEASES if name != DEFAULT_RELEASE])
def test_another_release_is_another_build_from_sources_of_its_own(
    ground: Ground, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DRA_OPERATOR_CONTROLPLANE_SOURCE")
    default, folder = source_folder(), cache_folder(source_folder())

    monkeypatch.setenv("DRA_OPERATOR_CONTROLPLANE_VERSION", name)

    assert source_folder() == default / name
    assert cache_folder(source_folder()).name.startswith(f"kubernetes-v{name}.")
    assert folder.name.startswith(f"kubernetes-v{DEFAULT_RELEASE}.")


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_is_built_from_the_kubernetes_that_it_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is told to the linker, and what is linked stands in go.mod."""
    monkeypatch.setenv("DRA_OPERATOR_CONTROLPLANE_VERSION", name)
    text = (source_folder() / "go.mod").read_text()

    assert set(re.findall(r"k8s\.io/kubernetes v(\S+)", text)) == {RELEASES[name].version.removeprefix("v")}
    assert {f"v1.{patch}" for patch in re.findall(r"=> k8s\.io/\S+ v0\.(\S+)", text)} == {RELEASES[name].version}


def test_a_release_without_a_recipe_is_an_error(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRA_OPERATOR_CONTROLPLANE_VERSION", "1.2")

    with pytest.raises(BinariesError, match=r"1\.2 is none of 1\.37, 1\.36, 1\.35, 1\.34"):
        ground.find()


def test_a_failed_build_names_its_log_and_leaves_nothing_else(ground: Ground) -> None:
    ground.install_go(FAILS)

    with pytest.raises(BinariesError, match="something is wrong") as caught:
        ground.find()

    log = Path(f"{cache_folder(ground.source)}.log")
    assert str(log) in str(caught.value)
    assert "something is wrong" in log.read_text()
    assert not cache_folder(ground.source).exists()
    assert ground.leftovers() == []


@pytest.mark.parametrize("script", [TOO_OLD, ""], ids=["too old", "none"])
def test_without_a_go_that_suffices_the_error_says_how_to_get_one(
    ground: Ground, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(ground.bin / "python"))
    monkeypatch.setenv("PATH", str(ground.bin))
    if script:
        ground.install_go(script)

    with pytest.raises(BinariesError, match="make setup"):
        ground.find()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_a_signal_ends_the_build_and_what_it_started(ground: Ground, number: signal.Signals) -> None:
    ground.install_go(HANGS)
    command = [sys.executable, "-m", "dra_operator.cli.main", "sandbox", "up", "--nodes=0", "--name=none"]
    environment = {**os.environ, **ground.environment, "DRA_OPERATOR_SANDBOX_DIR": str(ground.cache)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: ground.calls.exists() and ground.calls.read_text().strip())
        compiler = Path("/proc") / ground.calls.read_text().strip()
        assert compiler.exists()

        process.send_signal(number)

        assert process.wait(20) != 0
    wait_until(lambda: not compiler.exists() or ") Z " in (compiler / "stat").read_text())
    assert ground.leftovers() == []


def test_a_signal_that_comes_as_the_build_begins_ends_it_too(ground: Ground) -> None:
    """While the program has yet to learn that go runs, in most cases: hence more than once."""
    ground.install_go(ENDS_ITS_PARENT)
    command = [sys.executable, "-m", "dra_operator.sandbox.binaries"]
    for _ in range(3):
        done = subprocess.run(command, env={**os.environ, **ground.environment}, stdout=subprocess.DEVNULL, check=False)
        assert done.returncode == 130

    assert ground.builds() == 3
    assert not [pid for pid in ground.calls.read_text().split() if (Path("/proc") / pid).exists()]


def test_what_a_killed_build_left_goes_with_the_next(ground: Ground) -> None:
    left = Path(f"{cache_folder(ground.source)}.1.tmp")
    left.mkdir(parents=True)
    ground.install_go(BUILDS)

    ground.find()

    assert not left.exists()


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
