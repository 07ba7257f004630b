"""`dra-operator sandbox` as a user runs it: what is up works, what is down leaves nothing, two do not mix."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from dra_operator.sandbox.state import ProcessId, State

pytestmark = pytest.mark.cluster

PROGRAM = (sys.executable, "-m", "dra_operator.cli.main", "sandbox")


class Sandboxes:
    """The sandboxes of one test: their state is kept apart from the user's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "DRA_OPERATOR_SANDBOX_DIR": str(folder), "TMPDIR": str(folder)}

    def run(self, command: str, name: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        line = [*PROGRAM, command, "--name", name, *arguments]
        done = subprocess.run(line, env=self._environment, capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def up(self, name: str, *arguments: str) -> State:
        self.run("up", name, "--no-manifests", *arguments)
        return self.state(name)

    def foreground(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        line = [*PROGRAM, "up", "--foreground", "--name", name, "--no-manifests", *arguments]
        return subprocess.Popen(line, env=self._environment, stdout=subprocess.DEVNULL, start_new_session=True)

    def state(self, name: str) -> State:
        return msgspec.json.decode(self._file(name).read_bytes(), type=State)

    def has_started(self, name: str) -> bool:
        return self._file(name).exists()

    def is_ready(self, name: str) -> bool:
        return self._file(name).exists() and self.state(name).ready

    def node_names(self, name: str) -> list[str]:
        return self.run("kubectl", name, "--", "get", "nodes", "-o", "name").stdout.split()

    def end_all(self) -> None:
        for file in self._folder.glob("dra-sandbox/*/state.json"):
            self.run("down", file.parent.name, check=False)

    def _file(self, name: str) -> Path:
        return self._folder / "dra-sandbox" / name / "state.json"


@pytest.fixture
def sandboxes(tmp_path: Path) -> Iterator[Sandboxes]:
    found = Sandboxes(tmp_path)
    yield found
    found.end_all()


def wait_until(what: str, condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)


def processes_of(state: State) -> list[str]:
    """Whatever still runs of a sandbox: by its PIDs, and by its folder in anyone's command line."""
    left = [process.name for process in (state.supervisor, *state.children) if process.alive]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes()
        except OSError:
            continue
        if f"{state.folder}/".encode() in line:
            left.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return left


def test_what_is_up_works_and_what_is_down_leaves_nothing(sandboxes: Sandboxes) -> None:
    state = sandboxes.up("one", "--nodes", "2", "--gpus", "4")

    assert {process.name for process in state.children} >= {"etcd", "kube-apiserver"}
    assert state.kubeconfig in sandboxes.run("status", "one").stdout
    assert sandboxes.node_names("one") == ["node/gpu-0", "node/gpu-1"]
    sandboxes.run("kubectl", "one", "--", "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=10s")

    sandboxes.run("down", "one")

    assert processes_of(state) == []
    assert not Path(state.folder).exists()
    assert sandboxes.run("status", "one", check=False).returncode == 1
    sandboxes.run("down", "one")  # once more is no error


def test_two_sandboxes_do_not_mix(sandboxes: Sandboxes) -> None:
    first = sandboxes.up("first", "--nodes", "1")
    second = sandboxes.up("second", "--nodes", "2")

    assert sandboxes.node_names("first") == ["node/gpu-0"]
    assert sandboxes.node_names("second") == ["node/gpu-0", "node/gpu-1"]
    crossed = ("--server", second.server, "--insecure-skip-tls-verify", "get", "nodes")
    refused = sandboxes.run("kubectl", "first", "--", *crossed, check=False)
    assert refused.returncode != 0, "the first cluster's token opened the second"

    sandboxes.run("down", "first")

    assert processes_of(first) == []
    assert sandboxes.node_names("second") == ["node/gpu-0", "node/gpu-1"]


def test_a_second_one_of_that_name_is_refused_and_the_first_stays(sandboxes: Sandboxes) -> None:
    state = sandboxes.up("one", "--nodes", "0")

    assert sandboxes.run("up", "one", "--no-manifests", check=False).returncode == 1

    assert sandboxes.state("one") == state
    assert all(process.alive for process in state.children)


def test_down_cleans_up_after_a_supervisor_that_was_killed(sandboxes: Sandboxes) -> None:
    state = sandboxes.up("one", "--nodes", "1")
    os.kill(state.supervisor.pid, signal.SIGKILL)
    wait_until("the supervisor to be gone", lambda: not state.supervisor.alive)
    assert sandboxes.run("status", "one", check=False).returncode == 1

    sandboxes.run("down", "one")

    assert processes_of(state) == []
    assert not Path(state.folder).exists()


def test_on_an_existing_cluster_only_the_nodes_are_its_own(sandboxes: Sandboxes) -> None:
    cluster = sandboxes.up("cluster", "--nodes", "1")
    inventory = Path(cluster.folder) / "nodes.yaml"
    inventory.write_text("nodes: [{name: guest, profile: l4, gpus: 1}]")

    guest = sandboxes.up("guest", "--kubeconfig", cluster.kubeconfig, "--inventory", str(inventory))
    assert guest.children == ()
    assert sandboxes.node_names("cluster") == ["node/gpu-0", "node/guest"]
    sandboxes.run("down", "guest")

    assert sandboxes.node_names("cluster") == ["node/gpu-0"]
    taken = sandboxes.run(
        "up", "guest", "--no-manifests", "--kubeconfig", cluster.kubeconfig, "--nodes", "1", check=False
    )
    assert taken.returncode == 1
    assert "'gpu-0' that is not of this sandbox" in taken.stderr
    assert sandboxes.node_names("cluster") == ["node/gpu-0"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_in_the_foreground_a_signal_ends_everything(sandboxes: Sandboxes, number: signal.Signals) -> None:
    process = sandboxes.foreground("front", "--nodes", "1")
    wait_until("the sandbox to be ready", lambda: sandboxes.is_ready("front") or process.poll() is not None)
    state = sandboxes.state("front")

    process.send_signal(number)

    assert process.wait(60) == 0
    assert processes_of(state) == []
    assert not Path(state.folder).exists()


def test_a_signal_while_it_starts_ends_everything_too(sandboxes: Sandboxes) -> None:
    process = sandboxes.foreground("front", "--nodes", "1")
    wait_until("the start to be under way", lambda: sandboxes.has_started("front") or process.poll() is not None)
    state = sandboxes.state("front")
    assert not state.ready

    process.send_signal(signal.SIGINT)

    assert process.wait(60) == 0
    assert processes_of(state) == []
    assert not Path(state.folder).exists()


def test_a_wrong_inventory_is_a_usage_error_that_names_the_place(sandboxes: Sandboxes, tmp_path: Path) -> None:
    file = tmp_path / "nodes.yaml"
    file.write_text("nodes: [{name: a, profile: no-such-gpu}]")

    refused = sandboxes.run("up", "one", "--inventory", str(file), check=False)

    assert refused.returncode == 2
    assert "no-such-gpu" in refused.stderr


def test_a_process_that_only_has_the_same_number_is_left_alone() -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        ProcessId("etcd", other.pid, started="1").send(signal.SIGKILL)

        assert other.poll() is None
        assert ProcessId.of("etcd", other.pid).alive
    finally:
        other.kill()
        other.wait()
