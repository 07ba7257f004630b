"""The three layers of the image, and where they are kept: CPython; the wheels of requirements.lock; the program.

The lower ones take a minute and change seldom. Each is kept in the cache folder by the hash of what it is made from,
the code that makes it included; what is made twice from the same is the same, byte for byte. What the distribution
offers is asked only when the lowest is made: `fresh` makes it anew, and the others only if it has changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from tools.image import debian
from tools.image.interpreter import SITE, Interpreter, read_tree, write_tree
from tools.image.oci import File, Layer, Link, Tree, pack_layer, unpack_layer

ROOT: Final = Path(__file__).resolve().parents[2]
_HERE: Final = Path(__file__).parent
_LOCK: Final = ROOT / "requirements.lock"
_PACKAGE: Final = ROOT / "operator" / "dra_operator"
_RELEASE: Final = Path("/etc/os-release")
_KEPT: Final = 4
"""Layers of one kind that the cache holds: those of a few checkouts."""


def cache_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "dra-operator" / "image"


def build_layers(scratch: Path, cache: Path, *, fresh: bool = False) -> list[Layer]:
    """`scratch` is an empty folder that nobody needs afterwards."""
    builder = _Builder(scratch, cache)
    tools = _hash(path for path in _HERE.iterdir() if path.is_file())
    release = _RELEASE.read_bytes() if _RELEASE.exists() else b""
    python = builder.layer(
        "python", "CPython, from the distribution's packages", (tools, release), builder.python, fresh
    )
    builder.lowest = python
    wheels = builder.layer(
        "wheels", "the wheels of requirements.lock", (python.blob, _LOCK.read_bytes(), tools), builder.wheels
    )
    program = builder.layer("program", "dra-operator", (python.blob, _hash(_sources()), tools), builder.program)
    return [python, wheels, program]


class _Builder:
    def __init__(self, scratch: Path, cache: Path) -> None:
        self._scratch = scratch
        self._cache = cache
        self._interpreter: Interpreter | None = None
        self.lowest: Layer | None = None

    def layer(
        self, kind: str, what: str, inputs: Iterable[bytes], make: Callable[[], Tree], fresh: bool = False
    ) -> Layer:
        """From the cache; made if it is not there."""
        key = hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in inputs)).hexdigest()
        kept = self._cache / f"{kind}-{key}.tar.gz"
        if kept.exists() and not fresh:
            os.utime(kept)
            return Layer(kept.read_bytes(), what)
        sys.stderr.write(f"image: {what}\n")
        layer = pack_layer(make(), what)
        self._cache.mkdir(parents=True, exist_ok=True)
        part = self._cache / f"part-{os.getpid()}"
        part.write_bytes(layer.blob)
        part.rename(kept)
        for old in sorted(self._cache.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            old.unlink(missing_ok=True)
        return layer

    def python(self) -> Tree:
        root = self._scratch / "base"
        tree = debian.base(self._scratch / "apt", self._cache / "packages")
        write_tree(tree, root)
        interpreter = Interpreter(root)
        library = interpreter.library
        interpreter.compile(root / library, library)
        return tree | read_tree(root / library, library)

    def wheels(self) -> Tree:
        interpreter = self._image_python()
        target = self._scratch / "wheels"
        interpreter.install(_LOCK, target)
        shutil.rmtree(target / "bin")  # commands of libraries; their first line names the Python of this machine
        for record in target.glob("*.dist-info/RECORD"):  # it lists those commands, and not what is compiled
            record.unlink()
        interpreter.compile(target, SITE)
        return read_tree(target, SITE)

    def program(self) -> Tree:
        interpreter = self._image_python()
        package = self._scratch / "program" / _PACKAGE.name
        for source in _sources():
            place = package / source.relative_to(_PACKAGE)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
        interpreter.compile(package.parent, SITE)
        command = File((_HERE / "dra-operator").read_bytes(), 0o755)
        return read_tree(package.parent, SITE) | {
            "usr/local/bin/dra-operator": command,
            "usr/local/bin/kubectl-dra": Link("dra-operator"),
        }

    def _image_python(self) -> Interpreter:
        if self._interpreter is None:
            assert self.lowest is not None
            root = self._scratch / "root"
            write_tree(unpack_layer(self.lowest), root)
            self._interpreter = Interpreter(root)
        return self._interpreter


def _sources() -> list[Path]:
    """Files of the package, without what Python has left there."""
    return sorted(path for path in _PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _hash(files: Iterable[Path]) -> bytes:
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_mode & 0o100}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()
