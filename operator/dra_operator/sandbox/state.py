"""What a running sandbox leaves on disk, so that `status`, `kubectl` and `down` find it.

A PID alone does not name a process: with its start time (field 22 of /proc/PID/stat) it does, so that nothing is ever
sent to a process that merely has the same number.
"""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import msgspec


class ProcessId(msgspec.Struct, frozen=True):
    name: str
    pid: int
    started: str

    @classmethod
    def of(cls, name: str, pid: int) -> ProcessId:
        return cls(name, pid, start_time(pid) or "")

    @property
    def alive(self) -> bool:
        return bool(self.started) and start_time(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Signal the process, if it still is that one."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


class State(msgspec.Struct, frozen=True, kw_only=True):
    """`ready` is set once everything serves."""

    name: str
    supervisor: ProcessId
    children: tuple[ProcessId, ...]
    folder: str
    """Data and logs; it goes when the sandbox goes."""
    kubeconfig: str
    kubectl: str
    server: str
    nodes: tuple[str, ...]
    ready: bool
    operator_kubeconfig: str = ""

    @property
    def own_cluster(self) -> bool:
        """Whether the cluster ends with the sandbox, or is one that was there before (`--kubeconfig`)."""
        return Path(self.kubeconfig).is_relative_to(self.folder)


def start_time(pid: int) -> str | None:
    """When the process was started, in clock ticks since boot; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] == "Z" else fields[19]


def runtime_folder(name: str) -> Path:
    root = os.environ.get("DRA_OPERATOR_SANDBOX_DIR") or os.environ.get("XDG_RUNTIME_DIR")
    base = Path(root) if root else Path(tempfile.gettempdir()) / f"dra-operator-{os.getuid()}"
    return base / "dra-sandbox" / name


def read_state(name: str) -> State | None:
    try:
        return msgspec.json.decode((runtime_folder(name) / "state.json").read_bytes(), type=State)
    except FileNotFoundError:
        return None


def write_state(state: State) -> None:
    """Whole or not at all."""
    folder = runtime_folder(state.name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = folder / "state.json.tmp"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
    temporary.rename(folder / "state.json")


def remove_state(name: str) -> None:
    (runtime_folder(name) / "state.json").unlink(missing_ok=True)
