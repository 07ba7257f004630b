"""Compiles the kubelet's gRPC messages (`operator/dra_operator/agent/protos/*.proto`) to Python.

python tools/protos.py            writes *_pb2.py and *_pb2.pyi beside the .proto files
python tools/protos.py --check    exits 1 if a committed one is not what the .proto files and the compiler give
"""

from __future__ import annotations

import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Final

from grpc_tools import protoc

ROOT: Final = Path(__file__).resolve().parent.parent / "operator"
FOLDER: Final = ROOT / "dra_operator" / "agent" / "protos"


def compile_to(target: Path) -> dict[str, bytes]:
    """The generated files, by name."""
    sources = sorted(str(path.relative_to(ROOT)) for path in FOLDER.glob("*.proto"))
    includes = [f"-I{ROOT}", f"-I{resources.files('grpc_tools') / '_proto'}"]
    if protoc.main(["protoc", *includes, f"--python_out={target}", f"--pyi_out={target}", *sources]) != 0:
        sys.exit("protos: the compiler refused a .proto file")
    return {path.name: path.read_bytes() for path in (target / FOLDER.relative_to(ROOT)).iterdir()}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        wanted = compile_to(Path(folder))
    present = {path.name: path.read_bytes() for path in FOLDER.glob("*_pb2.py*")}
    if "--check" in sys.argv[1:]:
        stale = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
        if stale:
            sys.exit(f"protos: not up to date: {', '.join(stale)}; run: .venv/bin/python tools/protos.py")
        return
    for name in present.keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, content in wanted.items():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
