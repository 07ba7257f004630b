"""The image that `make image` writes, as far as it can be told without making it; tests/kubelet runs it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
import tomllib
from pathlib import Path
from typing import Any

from tools.image.__main__ import config
from tools.image.oci import File, Folder, Image, Link, Tree, pack_layer, unpack_layer, write_archive

ROOT = Path(__file__).parents[2]
TREE: Tree = {
    "usr/bin/tool": File(b"#!/bin/sh\n", 0o755),
    "usr/bin/alias": Link("tool"),
    "etc/tool.conf": File(b"quiet: true\n"),
    "tmp": Folder(0o1777),
}


def read(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {one.name: content.read() for one in tar if (content := tar.extractfile(one)) is not None}


def blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    """What a descriptor names, which is what it says."""
    content = files[f"blobs/{descriptor['digest'].replace(':', '/')}"]
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (descriptor["digest"][7:], descriptor["size"])
    return content


def test_a_layer_is_the_same_however_its_tree_came_about() -> None:
    other = dict(reversed(TREE.items()))
    assert pack_layer(TREE, "a").blob == pack_layer(other, "b").blob


def test_a_layer_brings_back_its_tree_and_the_folders_on_the_way() -> None:
    assert unpack_layer(pack_layer(TREE, "")) == TREE | {name: Folder() for name in ("usr", "usr/bin", "etc")}


def test_nothing_in_a_layer_has_a_time_or_an_owner_of_this_machine() -> None:
    with tarfile.open(fileobj=io.BytesIO(pack_layer(TREE, "").unpacked)) as tar:
        assert {(one.mtime, one.uid, one.gid, one.uname) for one in tar} == {(0, 0, 0, "root")}


def test_an_archive_leads_from_its_index_to_each_layer(tmp_path: Path) -> None:
    layers = [pack_layer(TREE, "tools"), pack_layer({"etc/more": File(b"")}, "more")]
    (digest,) = write_archive(tmp_path / "image.tar", [Image("example/tools:1", layers, {"User": "1"})])

    files = read(tmp_path / "image.tar")
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["digest"] == digest
    assert entry["annotations"]["io.containerd.image.name"] == "example/tools:1"
    manifest = json.loads(blob(files, entry))
    config_ = json.loads(blob(files, manifest["config"]))
    assert config_["config"] == {"User": "1"}
    unpacked = [gzip.decompress(blob(files, one)) for one in manifest["layers"]]
    assert config_["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in unpacked]
    assert unpacked == [layer.unpacked for layer in layers]


def test_the_containerfile_says_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "Containerfile").read_text().replace("\\\n", " ").replace("${VERSION}", project["version"])
    last = text[text.rindex("\nFROM ") :]

    def said(instruction: str) -> str:
        (value,) = re.findall(rf"^{instruction} (.*)$", last, re.MULTILINE)
        return " ".join(value.split())

    here = config(project)
    assert said("ARG") == f"VERSION={project['version']}"
    assert said("USER") == here["User"]
    assert said("WORKDIR") == here["WorkingDir"]
    assert json.loads(said("ENTRYPOINT")) == here["Entrypoint"]
    assert json.loads(said("CMD")) == here["Cmd"]
    assert said("ENV").split() == here["Env"]
    assert dict(re.findall(r'(\S+)="([^"]*)"', said("LABEL"))) == here["Labels"]
