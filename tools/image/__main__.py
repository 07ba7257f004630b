"""Writes the image as an OCI archive: `python -m tools.image`, or `make image`.

The same inputs give the same archive. SOURCE_DATE_EPOCH is the moment that the image says it was created at; by
default that is the last commit's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tools.image import debian
from tools.image.interpreter import InterpreterError
from tools.image.layers import ROOT, build_layers, cache_folder
from tools.image.oci import Image, architecture, write_archive

NAME: Final = "localhost/dra-operator"
"""What the image is called unless told otherwise: a name that no registry answers to."""
_MIB: Final = 1 << 20


def main() -> int:
    options = _arguments()
    started = time.monotonic()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = project["version"]
    archive = options.output or ROOT / "build" / f"dra-operator-{version}-{architecture()}.tar"
    try:
        with tempfile.TemporaryDirectory() as scratch:
            layers = build_layers(Path(scratch), cache_folder(), fresh=options.fresh)
    except (debian.PackagesError, InterpreterError) as error:
        sys.stderr.write(f"image: {error}\n")
        return 1
    image = Image(f"{options.name}:{version}", layers, config(project), _created())
    archive.parent.mkdir(parents=True, exist_ok=True)
    (digest,) = write_archive(archive, [image])
    packed = sum(len(layer.blob) for layer in layers) / _MIB
    unpacked = sum(len(layer.unpacked) for layer in layers) / _MIB
    print(f"{archive}\n{image.name}\n{packed:.1f} MiB, unpacked {unpacked:.1f} MiB\n{digest}")
    sys.stderr.write(f"image: ready in {time.monotonic() - started:.1f} s\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.image", description="Write the image as an OCI archive.")
    parser.add_argument("--name", default=NAME, help="its name once imported, without a tag (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="the archive (default: build/dra-operator-VERSION-ARCH.tar)")
    parser.add_argument("--fresh", action="store_true", help="ask the distribution for newer packages")
    return parser.parse_args()


def config(project: Mapping[str, str]) -> dict[str, Any]:
    """How a container of the image starts. The Containerfile says the same."""
    return {
        "User": "65532:65532",
        "Env": ["PATH=/usr/local/bin:/usr/bin", "HOME=/", f"SSL_CERT_FILE=/{debian.CERTIFICATES}"],
        "WorkingDir": "/",
        "Entrypoint": ["dra-operator"],
        "Cmd": ["--help"],
        "Labels": {
            "org.opencontainers.image.title": project["name"],
            "org.opencontainers.image.description": project["description"],
            "org.opencontainers.image.licenses": project["license"],
            "org.opencontainers.image.version": project["version"],
        },
    }


def _created() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        log = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True)
        epoch = log.stdout.strip() or "0"  # an unpacked archive has no history
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    sys.exit(main())
