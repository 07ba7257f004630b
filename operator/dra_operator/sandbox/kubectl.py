"""The real kubectl, as the demo and tests use it: what a user would type, and what a user would see."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

_POLL: Final = 0.1


class KubectlError(Exception):
    """A command failed that should succeed; the message is what kubectl said."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """`binary` and the kubeconfig that it is used with."""

    binary: str
    kubeconfig: str

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it; the caller looks at the exit code."""
        command = [self.binary, f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, input=stdin)  # noqa: S603

    def do(self, *arguments: str, stdin: str | None = None) -> str:
        """Run it and return what it says. Raises `KubectlError`."""
        done = self.run(*arguments, stdin=stdin)
        if done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """One object, or None if it is not there."""
        done = self.run("get", kind, name, "--namespace", namespace, "--output=json")
        if done.returncode != 0:
            if "NotFound" in done.stderr:
                return None
            raise KubectlError(f"kubectl get {kind} {name}: {done.stderr.strip()}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def list(self, kind: str, namespace: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self.do("get", kind, "--namespace", namespace, "--output=json"))[
            "items"
        ]
        return items

    def wait(self, what: str, condition: Callable[[], object], seconds: float = 30.0) -> None:
        """Wait until the condition gives something true. Raises `KubectlError` with what was waited for."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise KubectlError(f"waited {seconds:g} s in vain: {what}")
            time.sleep(_POLL)
