"""`make bench-cel`: how fast selectors are decided, beside cel-python's evaluators and cel-go as kube-scheduler has it.

Each contender runs in a process of its own, one after the other, on the same devices:

- warm: ten typical selectors on one device, each again and again; the best run counts;
- cold: thirty selectors are compiled and asked of 10,000 devices, everything included that happens once for a device;
- memory: the most that the process held.

cel-python gets the functions it lacks (`quantity`, `semver`, …) from here, in the simplest way; what its grammar or
its evaluator does not take is left out and named, and ratios are over what both take. It is too slow for all devices,
so its cold time is that of fewer, scaled.
A contender whose answers differ from ours ends the benchmark: a wrong answer is not fast.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from tests.oracle import OracleError, find_oracle

DRIVER: Final = "gpu.example.com"
_A: Final = f'device.attributes["{DRIVER}"]'
_C: Final = f'device.capacity["{DRIVER}"]'

WARM: Final = (
    f'device.driver == "{DRIVER}"',
    f'device.driver == "{DRIVER}" && {_A}.type == "gpu"',
    f'{_A}.productName == "NVIDIA A100-SXM4-40GB"',
    f"{_A}.index >= 4",
    f'{_A}.driverVersion.compareTo(semver("550.0.0")) >= 0',
    f'{_C}.memory.compareTo(quantity("40Gi")) >= 0',
    f'{_A}.architecture in ["Ampere", "Hopper"]',
    f'"mig" in {_A} && {_A}.mig',
    f'{_A}.?powerProfile.orValue("low") == "high"',
    f'{_A}.productName.startsWith("NVIDIA") && {_C}.memory.isGreaterThan(quantity("20Gi")) && {_A}.healthy',
)
_MODELS: Final = ("NVIDIA A100-SXM4-40GB", "NVIDIA H100-SXM5-80GB", "NVIDIA L4", "Tesla T4")
COLD: Final = (
    *WARM,
    *(f'device.driver == "{DRIVER}" && {_A}.productName == "{model}"' for model in _MODELS),
    *(f'{_C}.memory.compareTo(quantity("{size}")) >= 0' for size in ("16Gi", "24Gi", "80Gi", "141Gi")),
    *(f"{_A}.index {sign} {number}" for sign, number in (("<", 2), ("==", 7), ("!=", 0), (">", 5))),
    *(f'{_A}.driverVersion.isGreaterThan(semver("{version}"))' for version in ("535.0.0", "570.1.2")),
    f"{_A}.healthy && {_A}.index < 6 || {_A}.architecture == 'Hopper'",
    f"!({_A}.architecture == 'Ampere') && {_A}.healthy",
    f"has({_A}.mig) ? {_A}.mig : {_A}.index == 0",
    f'{_A}.architecture == "Hopper" ? {_C}.memory.isLessThan(quantity("100Gi")) : {_A}.healthy',
    f'{_A}.productName.contains("A100") || {_A}.productName.endsWith("80GB")',
    f'{_A}.type != "gpu" || {_A}.productName.matches("H[0-9]+")',
)

_SECONDS: Final = 0.3
_COLD_RUNS: Final = 3  # the best counts; cel-python is not given so many
_WIDTH: Final = 78
_FEW: Final = 200  # devices that cel-python is asked for


def describe_device(number: int) -> dict[str, Any]:
    """A device as the API has it."""
    model = _MODELS[number % len(_MODELS)]
    attributes: dict[str, Any] = {
        "type": {"string": "gpu"},
        "productName": {"string": model},
        "architecture": {"string": ("Ampere", "Hopper", "Ada", "Turing")[number % 4]},
        "uuid": {"string": f"GPU-{number:08d}"},
        "index": {"int": number % 8},
        "healthy": {"bool": number % 11 != 0},
        "driverVersion": {"version": f"{535 + number % 40}.{number % 3}.0"},
    }
    if number % 3 == 0:
        attributes["mig"] = {"bool": True}
    memory = ("40Gi", "80Gi", "24Gi", "16Gi")[number % 4]
    return {"driver": DRIVER, "attributes": attributes, "capacity": {"memory": {"value": memory}}}


@dataclass(slots=True)
class Result:
    warm_ns: list[float | None]
    cold_seconds: float
    cold_devices: int
    left_out: int
    matches: list[int]  # by selector, among the first few devices; none for cel-go, which says `total`
    total: int
    peak_mib: float


# -- contenders


def best_ns(decide: Callable[[], object]) -> float:
    best, deadline = float("inf"), time.perf_counter() + _SECONDS
    rounds = 1
    while time.perf_counter() < deadline:
        start = time.perf_counter_ns()
        for _ in range(rounds):
            decide()
        spent = time.perf_counter_ns() - start
        if spent < 500_000:
            rounds *= 4
        else:
            best = min(best, spent / rounds)
    return best


def run_ours(count: int) -> Result:
    from dra_operator.api.codec import convert
    from dra_operator.api.meta import ObjectMeta
    from dra_operator.api.resource import BasicDevice, ResourcePool, ResourceSlice, ResourceSliceSpec
    from dra_operator.cel.selector import _COMPILED, compile_selector
    from dra_operator.inventory.devices import Device

    pool = ResourcePool(name="pool", generation=1, resource_slice_count=1)
    slice_ = ResourceSlice(metadata=ObjectMeta(), spec=ResourceSliceSpec(driver=DRIVER, pool=pool))
    described = [
        convert({"name": f"gpu-{n}", **{k: v for k, v in describe_device(n).items() if k != "driver"}}, BasicDevice)
        for n in range(count)
    ]
    cold = float("inf")
    for _ in range(_COLD_RUNS):
        _COMPILED.clear()
        start = time.perf_counter()
        views = [Device(slice_, basic).view for basic in described]
        matches, total = [], 0
        for expression in COLD:
            decide = compile_selector(expression).matches
            answers = [decide(view) for view in views]
            matches.append(sum(answers[:_FEW]))
            total += sum(answers)
        cold = min(cold, time.perf_counter() - start)
    warm: list[float | None] = []
    view = views[0]
    for expression in WARM:
        matches_view = compile_selector(expression).matches
        warm.append(best_ns(lambda decide=matches_view: decide(view)))  # type: ignore[misc]
    return Result(warm, cold, count, 0, matches, total, 0.0)


def run_celpy(count: int, runner: str) -> Result:
    import celpy

    from tests.perf.celpy_library import FUNCTIONS, view_of

    environment = celpy.Environment(runner_class=getattr(celpy, runner))

    def program(expression: str) -> Any:
        return environment.program(environment.compile(expression), functions=FUNCTIONS)

    described = [describe_device(number) for number in range(count)]
    start = time.perf_counter()
    views = [view_of(device) for device in described]
    matches, left_out = [], 0
    for expression in COLD:
        try:
            compiled = program(expression)
            matches.append(sum(bool(compiled.evaluate(view)) for view in views))
        except Exception as error:  # noqa: BLE001 - whatever it does not take is left out
            print(f"  it does not take: {expression}  ({type(error).__name__})", file=sys.stderr)
            left_out += 1
            matches.append(-1)
    cold = time.perf_counter() - start
    warm: list[float | None] = []
    for expression in WARM:
        try:
            compiled = program(expression)
            compiled.evaluate(views[0])
        except Exception:  # noqa: BLE001 - named above
            warm.append(None)
        else:
            warm.append(best_ns(lambda ask=compiled.evaluate: ask(views[0])))  # type: ignore[misc]
    return Result(warm, cold, count, left_out, matches, -1, 0.0)


def run_go(count: int) -> Result:
    question = {
        "devices": [describe_device(number) for number in range(count)],
        "warm": WARM,
        "cold": COLD,
        "seconds": _SECONDS,
        "coldRuns": _COLD_RUNS,
    }
    done = subprocess.run(
        [find_oracle(), "bench-cel"], input=json.dumps(question) + "\n", stdout=subprocess.PIPE, text=True, check=True
    )
    answer = json.loads(done.stdout)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return Result(answer["warmNs"], answer["coldSeconds"], count, 0, [], answer["matches"], peak)


CONTENDERS: Final[dict[str, Callable[[int], Result]]] = {
    "dra-operator": run_ours,
    "cel-go": run_go,
    "celpy interpreted": lambda count: run_celpy(min(count, _FEW), "InterpretedRunner"),
    "celpy compiled": lambda count: run_celpy(min(count, _FEW), "CompiledRunner"),
}


# -- the run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.bench_cel", description=__doc__.split("\n")[0])
    parser.add_argument("--devices", type=int, default=10_000, metavar="N")
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.only:
        result = CONTENDERS[flags.only](flags.devices)
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        result.peak_mib = result.peak_mib or own
        print(json.dumps(asdict(result)))
        return 0
    try:
        find_oracle()
    except OracleError as error:
        print(error, file=sys.stderr)
        return 1
    results = {name: _in_own_process(name, flags.devices) for name in CONTENDERS}
    wrong = _disagreement(results)
    if wrong:
        print(wrong, file=sys.stderr)
        return 1
    _print(results, flags.devices)
    return 0


def _in_own_process(name: str, devices: int) -> Result:
    print(f"running {name} …", file=sys.stderr)
    command = [sys.executable, "-m", "tests.perf.bench_cel", "--devices", str(devices), "--only", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def _disagreement(results: dict[str, Result]) -> str | None:
    ours = results["dra-operator"]
    for name, result in results.items():
        if result.total >= 0 and result.total != ours.total:
            return f"{name} found {result.total} matches, dra-operator {ours.total}"
        for expression, theirs, own in zip(COLD, result.matches, ours.matches, strict=False):
            if theirs not in (own, -1):
                return f"{name} found {theirs} matches, dra-operator {own}: {expression}"
    return None


def _cold(result: Result, devices: int) -> float:
    """Seconds for all devices; what was left out counts as the average of the rest."""
    return result.cold_seconds * (devices / result.cold_devices) * len(COLD) / (len(COLD) - result.left_out)


def _print(results: dict[str, Result], devices: int) -> None:
    def row(title: str, cells: Iterable[str]) -> None:
        print(f"{title:<{_WIDTH}}" + "".join(f"{cell:>19}" for cell in cells))

    row("warm, ns per evaluation", results)
    for index, expression in enumerate(WARM):
        shown = expression.replace(f'["{DRIVER}"]', "[d]").replace("device.", "")
        times = (result.warm_ns[index] for result in results.values())
        row(
            shown if len(shown) < _WIDTH else f"{shown[: _WIDTH - 2]}…",
            ("-" if ns is None else f"{ns:,.0f}" for ns in times),
        )
    cold = {name: _cold(result, devices) for name, result in results.items()}
    row(f"cold, seconds: {devices:,} devices x {len(COLD)} selectors", (f"{seconds:,.2f}" for seconds in cold.values()))
    row("  measured on devices", (f"{result.cold_devices:,}" for result in results.values()))
    row("memory, MiB at most", (f"{result.peak_mib:,.0f}" for result in results.values()))
    ours = results["dra-operator"]
    ratios = (
        f"{name} {_warm_ratio(result, ours):,.0f}x warm, {cold[name] / cold['dra-operator']:,.1f}x cold"
        for name, result in results.items()
        if result is not ours
    )
    warm = [ns for ns in ours.warm_ns if ns is not None]
    print(
        f"dra-operator: {sum(warm) / len(warm):,.0f} ns warm, {cold['dra-operator']:.2f} s cold; "
        f"others take {'; '.join(ratios)}"
    )


def _warm_ratio(theirs: Result, ours: Result) -> float:
    """How much longer they take, by the average over what they take at all."""
    both = [(a, b) for a, b in zip(theirs.warm_ns, ours.warm_ns, strict=True) if a is not None and b is not None]
    return sum(a for a, _ in both) / sum(b for _, b in both)


if __name__ == "__main__":
    sys.exit(main())
