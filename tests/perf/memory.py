"""How much memory the controller's knowledge of a large cluster takes.

    python -m tests.perf.memory [--nodes 5000]

Everything that `dra-operator run` imports; then, kind by kind, the mirrors of nodes with eight GPUs each, half of the
GPUs held by a claim of a running pod each, taken in as they come from the API server; then one decision of every kind
of request. Objects are made from one JSON text a time, which is thrown away, so that what remains is the mirrors'.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import dra_operator.handlers  # noqa: F401 - what the program imports counts, Kopf too
from dra_operator.api.codec import decode
from dra_operator.api.kinds import CLASSES, NODES, PODS
from dra_operator.api.resource import ResourceClaim, ResourceSlice
from dra_operator.controller.heap import settle
from dra_operator.controller.lists import Lists
from dra_operator.controller.mirrors import ClaimMirror, KopfMirror, SliceMirror
from dra_operator.lifecycle.decide import Decider
from dra_operator.lifecycle.lean import Lean
from dra_operator.lifecycle.view import View
from tests.builders import pod

USED = 50
KINDS = {"minions": "node", "resourceslices": "slice of 8 devices", "resourceclaims": "claim", "pods": "pod"}
"""By what etcd calls them."""


def resident() -> int:
    """Bytes that the process has in memory now, after what is free is given back."""
    settle()
    gc.unfreeze()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def write(folder: Path, nodes: int) -> None:
    """The cluster's objects, a line each; in another process, whose memory is not measured."""
    from tests.perf.large_cluster import large_cluster

    files = {kind: (folder / kind).open("w") for kind in KINDS}
    for key, body in large_cluster(nodes, USED):
        body["metadata"]["resourceVersion"] = "1"
        files[key.split("/")[2]].write(json.dumps(body) + "\n")
    for file in files.values():
        file.close()


class Mirrors:
    """What takes the objects in, as the controller puts it together."""

    def __init__(self) -> None:
        self.view = View()
        self._kopf = KopfMirror(self.view, lambda refs: None, lambda kind: None, lambda notice: None)
        self._kopf.note_synced()
        self._claims, self._lean_claim = ClaimMirror(self.view, lambda refs: None, Lists()), Lean().claim
        self._slices, self._lean_slice = SliceMirror(self.view, lambda refs: None, Lists()), Lean().slice
        self._kopf.take(CLASSES, "ADDED", {"metadata": {"name": "gpu", "uid": "class"}, "spec": {}})

    def take(self, kind: str) -> Callable[[str], None]:
        by_kind: dict[str, Callable[[str], None]] = {
            "minions": lambda text: self._kopf.take(NODES, "ADDED", json.loads(text)),
            "pods": lambda text: self._kopf.take(PODS, "ADDED", json.loads(text)),
            "resourceclaims": self._take_claim,
            "resourceslices": self._take_slice,
        }
        return by_kind[kind]

    def _take_claim(self, text: str) -> None:
        claim = decode(text, ResourceClaim)
        self._lean_claim(claim)
        self._claims.apply("ADDED", claim)

    def _take_slice(self, text: str) -> None:
        slice_ = decode(text, ResourceSlice)
        self._lean_slice(slice_)
        self._slices.apply("ADDED", slice_)


def measure(nodes: int) -> Iterator[tuple[str, str]]:
    """What was measured, and how much."""
    yield "imports", f"{resident() / 1e6:.0f} MB"
    with tempfile.TemporaryDirectory() as folder:
        program = f"from pathlib import Path; from tests.perf.memory import write; write(Path({folder!r}), {nodes})"
        subprocess.run([sys.executable, "-c", program], check=True)
        mirrors = Mirrors()
        for kind, name in KINDS.items():
            before, count = resident(), 0
            with (Path(folder) / kind).open() as file:
                for text in file:
                    mirrors.take(kind)(text)
                    count += 1
            more = resident() - before
            yield f"{count} times a {name}", f"{more / count / 1000:.1f} kB each, {more / 1e6:.0f} MB"
    before = resident()
    decider = Decider(mirrors.view)
    for ask in _asks():
        for _ in range(1 + nodes // 128):
            decider.place(pod(), ask)
    yield "what searches of all nodes remember", f"{(resident() - before) / 1e6:.0f} MB"
    yield "altogether", f"{resident() / 1e6:.0f} MB"


def _asks() -> Iterator[tuple[ResourceClaim, ...]]:
    from tests.perf.inventories import ASKS

    return (ask.claims for ask in ASKS.values() if ask.kind == "gpu")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.memory", description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=5_000)
    for what, value in measure(parser.parse_args().nodes):
        print(f"{what:58} {value}")


if __name__ == "__main__":
    main()
