"""Images in the OCI layout: layers, configuration, manifest, index, packed as one archive.

What goes in decides every byte that comes out: entries are sorted, belong to root, and have no time. `created` in the
configuration is the one moment there is.

Specification: OCI image-spec 1.1 (image-layout, manifest, config, layer). Read by `podman load`, `skopeo copy`,
`docker load` and `ctr images import`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeAlias

_MEDIA: Final = "application/vnd.oci.image."
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_COMPRESSION: Final = 6


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic one."""

    target: str


@dataclass(frozen=True, slots=True)
class Folder:
    mode: int = 0o755


Tree: TypeAlias = dict[str, File | Link | Folder]
"""By path without a leading slash. Folders that are only on the way need no entry."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A compressed archive of a tree."""

    blob: bytes
    created_by: str

    @property
    def unpacked(self) -> bytes:
        return gzip.decompress(self.blob)


@dataclass(frozen=True, slots=True)
class Image:
    """`name` is what it is called once imported; `config` is the part that says how a container starts."""

    name: str
    layers: Sequence[Layer]
    config: Mapping[str, Any]
    created: str = "1970-01-01T00:00:00Z"


@dataclass(slots=True)
class _Blobs:
    """Contents by their digest."""

    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, content: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        self.files[f"blobs/sha256/{digest}"] = content
        return {"mediaType": f"{_MEDIA}{media_type}", "digest": f"sha256:{digest}", "size": len(content)}


def architecture() -> str:
    """Of this machine, as images call it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def pack_layer(tree: Mapping[str, File | Link | Folder], created_by: str) -> Layer:
    return Layer(gzip.compress(_tar(_with_parents(tree)), _COMPRESSION, mtime=0), created_by)


def unpack_layer(layer: Layer) -> Tree:
    """The inverse of `pack_layer`, parents included."""
    tree: Tree = {}
    with tarfile.open(fileobj=io.BytesIO(layer.unpacked)) as tar:
        for member in tar:
            if member.issym():
                tree[member.name] = Link(member.linkname)
            elif member.isdir():
                tree[member.name] = Folder(member.mode)
            elif (content := tar.extractfile(member)) is not None:
                tree[member.name] = File(content.read(), member.mode)
    return tree


def write_archive(archive: Path, images: Iterable[Image]) -> list[str]:
    """Returns the digests of the images' manifests."""
    blobs = _Blobs()
    manifests = [_manifest(blobs, image) for image in images]
    index = {"schemaVersion": 2, "mediaType": f"{_MEDIA}index.v1+json", "manifests": manifests}
    files: Tree = {name: File(content) for name, content in blobs.files.items()}
    files["oci-layout"] = File(b'{"imageLayoutVersion":"1.0.0"}')
    files["index.json"] = File(_json(index))
    archive.write_bytes(_tar(_with_parents(files)))
    return [manifest["digest"] for manifest in manifests]


def _manifest(blobs: _Blobs, image: Image) -> dict[str, Any]:
    contents = [layer.unpacked for layer in image.layers]
    config = {
        "created": image.created,
        "architecture": architecture(),
        "os": "linux",
        "config": image.config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in contents]},
        "history": [{"created": image.created, "created_by": layer.created_by} for layer in image.layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_MEDIA}manifest.v1+json",
        "config": blobs.add(_json(config), "config.v1+json"),
        "layers": [blobs.add(layer.blob, "layer.v1.tar+gzip") for layer in image.layers],
    }
    names = {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name.rpartition(":")[2]}
    return blobs.add(_json(manifest), "manifest.v1+json") | {"annotations": names}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _with_parents(tree: Mapping[str, File | Link | Folder]) -> Tree:
    parents = {str(parent) for path in tree for parent in PurePosixPath(path).parents} - {"."}
    return {parent: Folder() for parent in parents} | dict(tree)


def _tar(tree: Mapping[str, File | Link | Folder]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, entry in sorted(tree.items()):
            info = tarfile.TarInfo(path)
            info.uname = info.gname = "root"
            match entry:
                case File(content, mode):
                    info.mode, info.size = mode, len(content)
                    tar.addfile(info, io.BytesIO(content))
                case Link(target):
                    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
                    tar.addfile(info)
                case Folder(mode):
                    info.type, info.mode = tarfile.DIRTYPE, mode
                    tar.addfile(info)
    return buffer.getvalue()
