"""CPython and the libraries that it needs, from the packages of the distribution that this machine runs.

apt chooses and checks them (signatures, hashes) with the sources that the machine is configured with, and with a state
of its own: nothing is installed, root is not needed. Of what apt would install, only what is reached from `_ROOTS` by
dependencies is taken, and not through `_LEFT_OUT`: packages that only installation scripts need, and libraries of
modules that no service uses. Scripts of packages are not run.

What a package is and where it came from stays in /var/lib/dpkg/status.d, where scanners of images look.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tools.image.oci import File, Folder, Link, Tree

_ROOTS: Final = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "ca-certificates")
_LEFT_OUT: Final = re.compile(
    "dpkg|debconf.*|openssl|media-types|python3-minimal-.*"
    "|lib(nsl|tirpc|readline|ncursesw|tinfo|db5|sqlite3).*"  # what the modules in _MODULES_LEFT_OUT are made of
)
_MODULES_LEFT_OUT: Final = re.compile(r"usr/lib/python3\.\d+/lib-dynload/(nis|readline|_curses.*|_dbm|_sqlite3)\..*")
_KEPT: Final = re.compile(
    r"usr/bin/python3(\.\d+)?|(usr/)?lib(64)?/.*|etc/(ld\.so\.conf|python3).*"
    r"|usr/share/ca-certificates/.*\.crt|usr/share/doc/.*/copyright"
)
_DROPPED: Final = re.compile(
    r"usr/lib/(udev|valgrind|python3)/.*|.*-linux-gnu/gconv/.*|usr/lib/python3\.\d+/(pydoc_data/.*|turtle\.py)"
)
_MERGED: Final = ("bin", "sbin", "lib", "lib64")
"""Links into /usr; older packages still bring files there."""
_USER: Final = "dra-operator:x:65532:65532:dra-operator:/:/usr/sbin/nologin\n"
CERTIFICATES: Final = "etc/ssl/certs/ca-certificates.crt"


class PackagesError(Exception):
    """The message says what is missing, or which command failed and what it said."""


def base(folder: Path, packages: Path) -> Tree:
    """The root filesystem. `folder` is for apt's lists, `packages` keeps what was downloaded."""
    debs = _chosen(_download(folder, packages))
    tree: Tree = {name: Link(f"usr/{name}") for name in _MERGED}
    for name, deb in debs.items():
        tree |= dict(_files(deb))
        tree[f"var/lib/dpkg/status.d/{name}"] = File(_output("dpkg-deb", "--field", str(deb)))
    authorities = sorted(path for path in tree if path.startswith("usr/share/ca-certificates/"))
    bundle = b"".join(tree.pop(path).content for path in authorities)  # type: ignore[union-attr]
    return tree | {
        CERTIFICATES: File(bundle),
        "etc/passwd": File(f"root:x:0:0:root:/root:/usr/sbin/nologin\n{_USER}".encode()),
        "etc/group": File(b"root:x:0:\ndra-operator:x:65532:\n"),
        "etc/nsswitch.conf": File(b"passwd: files\ngroup: files\nhosts: files dns\n"),
        "tmp": Folder(0o1777),
    }


def _download(folder: Path, packages: Path) -> dict[str, Path]:
    """What apt would install on a machine that has nothing, by name."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise PackagesError(f"{tool} is not here: on a machine without Debian's tools, build the Containerfile")
    for path in (folder / "lists" / "partial", packages / "partial"):
        path.mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    options = (
        f"--option=Dir::State={folder}",
        f"--option=Dir::State::Lists={folder / 'lists'}",
        f"--option=Dir::State::Status={folder / 'status'}",
        f"--option=Dir::Cache={folder}",
        f"--option=Dir::Cache::Archives={packages}",
        "--option=APT::Sandbox::User=",
        "--option=Acquire::Languages=none",
        "--quiet=2",
    )
    _output("apt-get", *options, "update")
    install = ("install", "--no-install-recommends", *_ROOTS)
    _output("apt-get", *options, "--assume-yes", "--download-only", *install)
    plan = _output("apt-get", *options, "--simulate", *install).decode()
    return {
        name: packages / f"{name}_{version.replace(':', '%3a')}_{arch}.deb"
        for name, version, arch in re.findall(r"^Inst (\S+) \((\S+) .*\[(\w+)\]\)", plan, re.MULTILINE)
    }


def _chosen(debs: Mapping[str, Path]) -> dict[str, Path]:
    chosen: dict[str, Path] = {}
    reached = list(_ROOTS)
    while reached:
        name = reached.pop()
        if name in chosen or name not in debs or _LEFT_OUT.fullmatch(name):
            continue
        chosen[name] = debs[name]
        for field in ("Depends", "Pre-Depends"):
            text = _output("dpkg-deb", "--field", str(debs[name]), field).decode()
            reached += [re.split(r"[ (:]", one.strip())[0] for one in re.split(r"[,|]", text) if one.strip()]
    return dict(sorted(chosen.items()))


def _files(deb: Path) -> Iterator[tuple[str, File | Link]]:
    """What is kept of a package. Permissions are the package's; a folder comes with what is in it."""
    archive = io.BytesIO(_output("dpkg-deb", "--fsys-tarfile", str(deb)))
    with tarfile.open(fileobj=archive) as tar:
        for member in tar:
            path = member.name.removeprefix("./")
            if not _KEPT.fullmatch(path):
                continue
            place = f"usr/{path}" if path.partition("/")[0] in _MERGED else path
            if _DROPPED.fullmatch(place) or _MODULES_LEFT_OUT.fullmatch(place):
                continue
            if member.issym():
                yield place, Link(member.linkname)
            elif (content := tar.extractfile(member)) is not None:  # a hard link is the file again
                yield place, File(content.read(), member.mode & 0o755)


def _output(*command: str) -> bytes:
    try:
        return subprocess.run(command, check=True, capture_output=True).stdout
    except subprocess.CalledProcessError as error:
        raise PackagesError(f"{' '.join(command)} failed:\n{error.stderr.decode(errors='replace')}") from error
