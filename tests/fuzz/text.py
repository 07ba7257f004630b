"""`make fuzz-cel`: the targets of `targets.py` under atheris, which looks for input that reaches new code.

    python -m tests.fuzz.text [--target NAME] [--seconds N]

Each target runs in a process of its own with 2 GiB and 10 s for one input; what breaks it is kept as a file and named.
Where atheris cannot be installed (it comes for Linux on x86-64), this says so and does nothing: hypothesis tries the
same targets in every test run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.fuzz.odd_selectors import DEVICE

NAMES: Final = ("text_as_selector", "generated_selector", "text_as_quantity", "text_as_version", "document_as_slice")
"""Of the targets. They are imported only where their code can be instrumented."""

_GOLDEN: Final = Path(__file__).parents[1] / "conformance" / "data"
_MEGABYTES: Final = 2048
_SECONDS_FOR_ONE: Final = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.text", description=__doc__.split("\n")[0])
    parser.add_argument("--target", choices=NAMES, help="one of them instead of all")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="for each target")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.inside is not None:
        return _fuzz(flags.target, flags.seconds, flags.inside)
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("atheris is not installed (it comes for Linux on x86-64): nothing was fuzzed")
        return 0
    failed = [name for name in ([flags.target] if flags.target else NAMES) if not _run(name, flags.seconds)]
    print(f"found something: {', '.join(failed)}" if failed else "nothing found")
    return 1 if failed else 0


def _run(name: str, seconds: int) -> bool:
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for number, seed in enumerate(_seeds(name)):
        (folder / f"seed{number}").write_bytes(seed)
    command = [sys.executable, "-m", "tests.fuzz.text", "--target", name, "--seconds", str(seconds)]
    with (folder / "log").open("w") as log:
        done = subprocess.run([*command, "--inside", str(folder)], stdout=log, stderr=subprocess.STDOUT)
    lines = (folder / "log").read_text(errors="replace").splitlines()
    summary = next((line for line in reversed(lines) if line.startswith(("Done ", "#"))), lines[-1] if lines else "")
    print(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'}  {summary}")
    if done.returncode != 0:
        print("\n".join(lines[-25:]))
        print(f"  input and log: {folder}")
    return done.returncode == 0


def _seeds(name: str) -> list[bytes]:
    match name:
        case "text_as_selector":
            lines = (_GOLDEN / "cel_library.jsonl").read_text().splitlines()[1:]
            return [json.loads(line)["expression"].encode() for line in lines]
        case "text_as_quantity":
            return [b"40Gi", b"1500m", b"-1.5e3", b"0", b"9" * 5000, b"1e2147483647"]
        case "text_as_version":
            return [b"1.2.3", b"1.2.3-alpha.1+build.5"]
        case "document_as_slice":
            pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
            device = {"name": "d", **{key: DEVICE[key] for key in DEVICE if key != "driver"}}
            slice_ = {"metadata": {"name": "s"}, "spec": {"driver": "d", "pool": pool, "devices": [device]}}
            return [json.dumps(slice_).encode()]
        case _:
            return [bytes(range(64)), b"\x80" * 64]


def _fuzz(name: str, seconds: int, folder: Path) -> int:
    import atheris

    with atheris.instrument_imports(include=["dra_operator"]):
        from tests.fuzz.targets import TARGETS
    arguments = [
        sys.argv[0],
        str(folder),
        f"-max_total_time={seconds}",
        f"-timeout={_SECONDS_FOR_ONE}",
        f"-rss_limit_mb={_MEGABYTES}",
        "-max_len=10240",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
    ]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
