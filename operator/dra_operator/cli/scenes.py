"""The cluster that a command looks at: the live one with the caller's rights, or files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from dra_operator.query.documents import InputError, read_documents
from dra_operator.query.objects import DEFAULT_NAMESPACE, load_objects
from dra_operator.query.scene import Scene, build_scene


@dataclass(frozen=True, slots=True)
class LoadedScene:
    scene: Scene
    namespace: str
    """Where names without a namespace are looked for."""
    unseen: tuple[str, ...] = ()


def load_scene(
    files: Sequence[str] | None,
    recursive: bool,
    inventory: str | None,
    namespace: str | None,
    kubeconfig: str | None,
    context: str | None,
    *,
    needs: Collection[str] = (),
) -> LoadedScene:
    """`needs`: resources of a live cluster that the caller has to be able to see. Raises `InputError`."""
    if files:
        where = namespace or DEFAULT_NAMESPACE
        manifests = load_objects(read_documents(files, recursive=recursive), where)
        if inventory is None:
            return LoadedScene(build_scene(manifests), where)
        from dra_operator.cli.inventory import Machines  # late: live commands do without profiles

        machines = Machines()
        machines.add_file(Path(inventory))
        scene = build_scene(manifests, nodes=machines.nodes, slices=machines.slices, taint_rules=machines.taint_rules)
        return LoadedScene(scene, where)
    if inventory is not None:
        raise InputError("--inventory goes with -f")
    from dra_operator.query.live import load_cluster  # late: files do without a client

    cluster = load_cluster(kubeconfig, context, namespace, needs=needs)
    return LoadedScene(build_scene(cluster.manifests, live=True), cluster.namespace, tuple(cluster.unseen))
