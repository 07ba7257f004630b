"""A container image without a registry: Debian's static busybox, as an OCI archive that containerd imports."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path
from typing import Any

PAUSE = "dra.test/pause:1"
"""What containerd holds a pod's namespaces with: it sleeps."""
BUSYBOX = "docker.io/library/busybox:1.37"
"""The one that examples/ name."""

_MEDIA = "application/vnd.oci.image."
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class _Archive:
    """Files to be packed, the content by its digest."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}

    def add(self, content: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        self.files[f"blobs/sha256/{digest}"] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def pack(self) -> bytes:
        return _tar({name: (0o644, content) for name, content in self.files.items()})


def _tar(files: dict[str, tuple[int, bytes | str]]) -> bytes:
    """Name → mode and content; text is the target of a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, (mode, content) in files.items():
            info = tarfile.TarInfo(name)
            info.mode = mode
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write_images(busybox: Path, archive: Path) -> None:
    """Both images over one layer: the program, and a link to it for each of its applets."""
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    layer: dict[str, tuple[int, bytes | str]] = {"bin/busybox": (0o755, busybox.read_bytes())}
    layer |= {f"bin/{applet}": (0o777, "busybox") for applet in applets if applet != "busybox"}
    packed = _Archive()
    layer_entry = packed.add(_tar(layer), f"{_MEDIA}layer.v1.tar")
    manifests = []
    for name, command in ((PAUSE, ["/bin/sleep", "infinity"]), (BUSYBOX, ["/bin/sh"])):
        config = {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": command},
            "rootfs": {"type": "layers", "diff_ids": [layer_entry["digest"]]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_MEDIA}manifest.v1+json",
            "config": packed.add(json.dumps(config).encode(), f"{_MEDIA}config.v1+json"),
            "layers": [layer_entry],
        }
        entry = packed.add(json.dumps(manifest).encode(), f"{_MEDIA}manifest.v1+json")
        manifests.append(entry | {"annotations": {"io.containerd.image.name": name}})
    packed.files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    archive.write_bytes(packed.pack())
