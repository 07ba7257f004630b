"""Container images without a registry: Debian's static busybox, as an OCI archive that containerd imports."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from tools.image.oci import File, Image, Link, Tree, pack_layer, write_archive

PAUSE: Final = "dra.test/pause:1"
"""What containerd holds a pod's namespaces with: it sleeps."""
BUSYBOX: Final = "docker.io/library/busybox:1.37"
"""The one that examples/ name."""


def write_images(busybox: Path, archive: Path) -> None:
    """Both images over one layer: the program, and a link to it for each of its applets."""
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    tree: Tree = {f"bin/{applet}": Link("busybox") for applet in applets}
    tree["bin/busybox"] = File(busybox.read_bytes(), 0o755)
    layers = [pack_layer(tree, "busybox")]
    commands = ((PAUSE, ["/bin/sleep", "infinity"]), (BUSYBOX, ["/bin/sh"]))
    write_archive(archive, [Image(name, layers, {"Env": ["PATH=/bin"], "Cmd": command}) for name, command in commands])
