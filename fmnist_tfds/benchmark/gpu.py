"""Which cases the benchmark on an accelerator runs, in which order, until when; its table.

The most valuable cases come first. What was measured is written after every case, so that a run
that is cut off leaves what it had.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib.metadata
import json
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from fmnist_tfds import atomic_file, errors, version
from fmnist_tfds.benchmark import gpu_cases, rivals
from fmnist_tfds.training import config as training_config

# Kind, rival, what it is a part of, and the goal by batch size.
_RATIOS: tuple[tuple[str, str, str, dict[int, float]], ...] = (
    ("scan", "fed", "ceiling", {128: 0.97, 1024: 0.99, 8192: 0.99}),
    ("steps", "uint8", "constant", {1024: 0.95}),
    ("steps", "indices", "constant", {}),
    ("steps", "float32", "constant", {}),
    ("steps", "fit", "constant", {}),
)
_LOADER_GOAL = 20e6


def plan(
    models: Sequence[str], precisions: Sequence[str], batch_sizes: Sequence[str]
) -> list[gpu_cases.Case]:
    """The cases, the most valuable first; so are the words of each argument.

    Raises:
        ConfigError: a model, precision or batch size that there is not.
    """
    pairs = [(model, precision) for model in models for precision in precisions]
    sizes = [int(size) if size.isdigit() else size for size in batch_sizes]
    for model, precision in pairs:
        for size in sizes:
            words = {"model": model, "precision": precision, "batch_size": size}
            training_config.TrainingConfig.from_table(words, where="what is measured")

    def cases(kind: str, pair: tuple[str, str], batch_sizes: Sequence[Any]) -> list[gpu_cases.Case]:
        return [gpu_cases.Case(kind, *pair, size) for size in batch_sizes]

    first, one = pairs[0], sizes[:1]
    found = cases("scan", first, sizes)
    found += [*cases("loader", first, one), *cases("steps", first, one)]
    found += cases("speedrun", first, one)
    for pair in pairs[1:]:
        found += cases("scan", pair, sizes)
    found += [*cases("steps", first, sizes[1:]), *cases("loader", first, sizes[1:])]
    for pair in pairs[1:]:
        found += cases("steps", pair, sizes)
    return found


def run(
    cases: Sequence[gpu_cases.Case],
    splits: gpu_cases.Splits,
    *,
    budget_s: float,
    bounds: rivals.Bounds,
    out: pathlib.Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Runs the cases in turn and writes `out` after each.

    A case begins only where the longest so far of its kind, or of all if it is the first, would
    still fit. One that fails is kept with its message, and the rest goes on.

    Args:
        cases: what is measured.
        splits: the data.
        budget_s: seconds from now.
        bounds: of each case.
        out: the JSON file.
        say: gets a line before each case.

    Returns:
        what `out` holds.

    Raises:
        ArgumentError: a batch is larger than the data.
        OSError: `out` cannot be written.
    """
    if (largest := max(case.batch_size for case in cases)) > len(splits.train[1]):
        raise errors.ArgumentError(
            f"batch size: expected at most {len(splits.train[1]):,}, the examples; got {largest:,}"
        )
    began, took = time.monotonic(), dict[str, float]()
    device = jax.devices()[0]
    result: dict[str, Any] = {
        "card": device.device_kind,
        "platform": device.platform,
        "python": platform.python_version(),
        "fmnist_tfds": version.VERSION,
        **{name: importlib.metadata.version(name) for name in ("jax", "keras", "numpy")},
        "budget_s": budget_s,
        "examples": len(splits.train[1]),
        "cases": [],
        "not_run": [],
    }
    _write(out, result)  # a path that cannot be written is found now, not after the work
    for case in cases:
        started = time.monotonic()
        expected = took.get(case.kind, max(took.values(), default=0.0))
        if started - began + expected > budget_s:
            result["not_run"].append(dataclasses.asdict(case))
            continue
        say(f"{started - began:4.0f} s  {_title(case)}")
        found = {**dataclasses.asdict(case), **_found(case, splits, bounds)}
        # What a case leaves on the device would be missing to the next.
        gc.collect()
        case_s = time.monotonic() - started
        took[case.kind] = max(case_s, took.get(case.kind, 0.0))
        result["cases"].append({**found, "case_s": case_s})
        _write(out, result)
    _write(out, result)
    return result


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown, with the goals beside them."""
    packages = ", ".join(f"{name} {result[name]}" for name in ("jax", "keras", "numpy"))
    lines = [
        f"{result['card']} ({result['platform']}), Python {result['python']}, {packages}, "
        f"{result['examples']:,} images.",
        "",
        "| case | images/s | of | ratio (lowest to highest turn) | goal |",
        "|---|---|---|---|---|",
    ]
    for found in result["cases"]:
        lines += _rows(found)
    for found in result["cases"]:
        if "accuracy_mean" in found:
            lines += ["", _speedrun(found)]
        if "failed" in found:
            lines += ["", f"{_title(_case(found))}: {found['failed']}"]
    if result["not_run"]:
        left = "; ".join(_title(_case(found)) for found in result["not_run"])
        lines += ["", f"Not run within {result['budget_s']:.0f} s: {left}."]
    return "\n".join(lines)


def rate(found: dict[str, Any], rival: str) -> float:
    """Images/s of a rival: the median of its turns."""
    return float(found["images"][rival] / statistics.median(found["seconds"][rival]))


def ratios(found: dict[str, Any], rival: str, of: str) -> list[float]:
    """The rival's rate as a part of another's, turn by turn."""
    pairs = zip(found["seconds"][rival], found["seconds"][of], strict=True)
    more = found["images"][rival] / found["images"][of]
    return [more * other / own for own, other in pairs]


def _found(case: gpu_cases.Case, splits: gpu_cases.Splits, bounds: rivals.Bounds) -> dict[str, Any]:
    try:
        return gpu_cases.KINDS[case.kind](case, splits, bounds)
    # Out of memory, a compiler's error: the message is kept, and time on the card goes on.
    except Exception as error:  # noqa: BLE001
        return {"failed": f"{type(error).__name__}: {error}"}


def _rows(found: dict[str, Any]) -> list[str]:
    if "seconds" not in found:
        return []
    if found["kind"] == "loader":
        return [_loader_row(found, name) for name in found["seconds"]]
    lines = []
    for kind, rival, of, goals in _RATIOS:
        if kind != found["kind"]:
            continue
        turns = ratios(found, rival, of)
        goal = goals.get(found["batch_size"])
        wanted = f"{goal:.0%}" if goal else "-"
        lines.append(
            f"| {_title(_case(found))}: {rival} | {rate(found, rival):,.0f} "
            f"| {of}, {rate(found, of):,.0f} | {statistics.median(turns):.1%} "
            f"({min(turns):.1%} to {max(turns):.1%}) | {wanted} |"
        )
    return lines


def _speedrun(found: dict[str, Any]) -> str:
    return (
        f"speedrun: {found['accuracy_mean']:.2%} (deviation {found['accuracy_deviation']:.2%}, "
        f"{found['runs']} seeds) in {found['warm_s']:.2f} s warm, {found['cold_s']:.1f} s with "
        "compiling; goals: 94 % within 1 s, 95 % within 2 s"
    )


def _loader_row(found: dict[str, Any], rival: str) -> str:
    goal = f"{_LOADER_GOAL:,.0f}" if rival == "loader" else "-"
    return f"| {_title(_case(found))}: {rival} | {rate(found, rival):,.0f} | - | - | {goal} |"


def _title(case: gpu_cases.Case) -> str:
    if case.kind == "speedrun":
        return case.kind
    with_model = f", {case.model}, {case.precision}" if case.kind != "loader" else ""
    return f"{case.kind}{with_model}, batch {case.batch_size}"


def _case(found: dict[str, Any]) -> gpu_cases.Case:
    return gpu_cases.Case(
        **{field.name: found[field.name] for field in dataclasses.fields(gpu_cases.Case)}
    )


def _write(out: pathlib.Path, result: dict[str, Any]) -> None:
    with atomic_file.replacing(out) as stream:
        stream.write((json.dumps(result, indent=1) + "\n").encode())
