"""The image's own Python at work on this machine: it installs the wheels that it will import, and compiles them.

It runs from a folder with the image's files by the image's own dynamic loader, so neither root nor a container is
needed, and neither the version of this machine's Python nor its libraries matter.
"""

from __future__ import annotations

import importlib.util
import os
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tools.image.oci import File, Folder, Link, Tree

SITE: Final = "usr/lib/python3/dist-packages"
"""Where Debian's Python looks for packages, whichever version it is; nothing else is there."""
_COMPILE: Final = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
"""Containers run on a read-only root: what is not compiled now is compiled at each start. By hash, since files in the
image have no time; unchecked, since nobody changes them."""


class InterpreterError(Exception):
    """What the image's Python said when it failed."""


class Interpreter:
    """The Python of an image whose files lie in `root`."""

    def __init__(self, root: Path) -> None:
        loaders = [*root.glob("usr/lib64/ld-linux-*.so.*"), *root.glob("usr/lib/ld-linux-*.so.*")]
        libraries = [path for path in (root / "usr" / "lib").glob("*-linux-gnu*") if path.is_dir()]
        python = (root / "usr" / "bin" / "python3").resolve()
        self.library = f"usr/lib/{python.name}"
        path = ":".join(str(library) for library in libraries)
        self._command = [str(loaders[0]), "--library-path", path, str(python)]

    def compile(self, folder: Path, place: str) -> None:
        """Modules below a folder, which will be in the image at `place`."""
        self.run(*_COMPILE, "-s", str(folder), "-p", f"/{place}", str(folder))

    def install(self, lock: Path, target: Path) -> None:
        """The wheels that a lock names, each checked by its hash."""
        spec = importlib.util.find_spec("pip")
        if spec is None or not spec.submodule_search_locations:
            raise InterpreterError("there is no pip beside the Python that runs this: make setup")
        pip = Path(spec.submodule_search_locations[0])
        start = "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module('pip', run_name='__main__')"
        options = ("--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile")
        self.run("-c", start, str(pip.parent), "install", *options, f"--target={target}", f"--requirement={lock}")

    def run(self, *arguments: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment |= {
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",  # the order of sets in what is compiled
            "PYTHONNOUSERSITE": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_REQUIRE_VIRTUALENV": "0",
            "PIP_ROOT_USER_ACTION": "ignore",
        }
        done = subprocess.run([*self._command, *arguments], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise InterpreterError(f"python {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def write_tree(tree: Mapping[str, File | Link | Folder], folder: Path) -> None:
    for path, entry in sorted(tree.items()):
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        match entry:
            case File(content, mode):
                place.write_bytes(content)
                place.chmod(mode)
            case Link(target):
                place.symlink_to(target)
            case Folder():
                place.mkdir(exist_ok=True)


def read_tree(folder: Path, place: str) -> Tree:
    """The files below a folder, as they will lie at `place`. Who may run a file stays, nothing else of its mode."""
    tree: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = f"{place}/{path.relative_to(folder)}"
        if path.is_symlink():
            tree[name] = Link(os.readlink(path))
        elif path.is_file():
            tree[name] = File(path.read_bytes(), 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
    return tree
