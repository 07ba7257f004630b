"""How much memory the controller's knowledge of a large cluster takes.

    python -m tests.perf.memory [--nodes 5000]

Everything that `dra-operator run` imports, mirrors of nodes with eight GPUs each, half of the GPUs held by a claim of a
running pod each, decoded from JSON as they come from the API server; then one decision of every kind of request.
"""

from __future__ import annotations

import argparse
import gc
import resource

import dra_operator.handlers  # noqa: F401 - what the program imports counts, Kopf too
from dra_operator.api.codec import decode, encode
from dra_operator.api.core import Node, Pod
from dra_operator.api.resource import ResourceClaim, ResourceSlice
from dra_operator.lifecycle.decide import Decider
from dra_operator.lifecycle.view import View
from tests.builders import pod
from tests.perf.inventories import ASKS, inventory

USED = 50


def resident() -> int:
    """Bytes that the process has in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.memory", description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=5_000)
    given = parser.parse_args()
    print(f"imports: {resident() >> 20} MiB")
    world = inventory("gpu", given.nodes, USED)
    texts = (
        [encode(node) for node in world.nodes.values()],
        [encode(slice_) for slice_ in world.slices],
        [encode(claim) for claim in world.allocated],
    )
    classes, claims = world.classes, len(world.allocated)
    inventory.__globals__["_published"].cache_clear()
    del world
    gc.collect()
    before = resident()
    view = View()
    for class_ in classes.values():
        view.observe_class(class_)
    while texts[0]:
        view.observe_node(decode(texts[0].pop(), Node))
    while texts[1]:
        view.observe_slice(decode(texts[1].pop(), ResourceSlice))
    while texts[2]:
        claim = decode(texts[2].pop(), ResourceClaim)
        view.observe_claim(claim, live=True)
        user = pod(claim.metadata.name, claims=[claim.metadata.name], node_name="node-00000", phase="Running")
        view.observe_pod(decode(encode(user), Pod))
    gc.collect()
    size = f"{given.nodes} nodes, {8 * given.nodes} devices, {claims} claims and pods"
    print(f"{size}: {resident() - before >> 20} MiB more")
    decider = Decider(view)
    for name, ask in ASKS.items():
        if ask.kind == "gpu":
            for _ in range(1 + given.nodes // 128):
                decider.place(pod(), ask.claims)
            print(f"and all nodes known for {name}: {resident() - before >> 20} MiB more")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"altogether: {resident() >> 20} MiB (peak, with what the measurement itself built: {peak} MiB)")


if __name__ == "__main__":
    main()
