"""Everything side by side: build, first batch, epochs, training step, memory, beside the peers.

Each case of cases.py runs in a process of its own; `measure` calls them in turn.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from fmnist_tfds.benchmark import cases as benchmark_cases

_TIMEOUT_S = 400
_OURS = ("resident", "stream", "numpy_batches")


def measure(data_dir: str, files: str, repeats: int) -> dict[str, Any]:
    """Runs every case.

    Args:
        data_dir: where to build both data sets, kept for the next run.
        files: the folder of the four canonical files.
        repeats: fresh processes per case of which the median counts.

    Returns:
        {case: {figure: value}} in seconds, images/s and bytes, with the machine and versions.
    """
    result: dict[str, Any] = {"machine": platform.platform(), "python": platform.python_version()}
    builds: dict[str, list[dict[str, Any]]] = {
        "build_resilient": [],
        "build_floor": [],
        "build_stock": [],
    }
    for case in ("build_resilient", "build_stock"):
        _case(case, data_dir, files)
    for _ in range(repeats):
        for case, runs in builds.items():
            with tempfile.TemporaryDirectory() as scratch:
                runs.append(_case(case, scratch, files))
    result |= {case: _median(runs) for case, runs in builds.items()}
    cases = (
        "first_batch",
        "first_batch_unverified",
        "first_batch_floor",
        "stream_epoch",
        "stock_epoch",
        "bare",
    )
    fresh = {case: [] for case in cases}  # type: dict[str, list[dict[str, Any]]]
    for _ in range(repeats):
        for case in cases:
            fresh[case].append(_case(case, data_dir, files))
    result |= {case: _median(runs) for case, runs in fresh.items()}
    result["warm"] = _case("warm", data_dir, files)
    if importlib.util.find_spec("grain"):
        _case("build_array_record", data_dir, files)
        grain = _case("grain", data_dir, files)
        result["warm"] |= {name: rate for name, rate in grain.items() if name[-1].isdigit()}
    result["step"] = _case("step", data_dir, files)
    result["fit"] = {
        backend: _case("fit", data_dir, files, backend=backend)
        for backend in ("tensorflow", "jax")
        if importlib.util.find_spec(backend)
    }
    return result


def table(result: dict[str, Any]) -> str:
    """The figures as a Markdown table, ratios first."""
    warm, stock = result["warm"], result["stock_epoch"]["seconds"]
    rows: list[tuple[str, float, str, str, float | None]] = [
        ("build", result["build_stock"]["seconds"] / result["build_resilient"]["seconds"],
         f"{result['build_resilient']['seconds']:.2f} s", "stock fashion_mnist", 6),
        ("build", result["build_floor"]["seconds"] / result["build_resilient"]["seconds"],
         f"{result['build_resilient']['seconds']:.2f} s", "gunzip and write", 0.5),
        ("cold first epoch, stream, uint8, 1024", stock / result["stream_epoch"]["seconds"],
         f"{result['stream_epoch']['seconds']:.3f} s", "stock tfds.load", 20),
        ("first batch, verified, of 60,000 in memory", stock / result["first_batch"]["seconds"],
         f"{result['first_batch']['seconds']:.3f} s", "stock's first epoch", 30),
        ("the same, verify=False", stock / result["first_batch_unverified"]["seconds"],
         f"{result['first_batch_unverified']['seconds']:.3f} s", "stock's first epoch", 100),
        ("TensorFlow's own share of that", stock / result["first_batch_floor"]["seconds"],
         f"{result['first_batch_floor']['seconds']:.3f} s", "stock's first epoch", None),
    ]  # fmt: skip

    def rates_beside(
        figure: str, ours: float, peer: str, theirs: float, goal: float | None
    ) -> None:
        rows.append((figure, ours / theirs, f"{ours:,.0f} images/s", peer, goal))

    for batch in benchmark_cases.BATCHES:
        figure, by_numpy = f"warm, batch {batch}", warm[f"numpy {batch}"]
        tutorial, resident = warm[f"tutorial {batch}"], warm[f"resident, by epoch {batch}"]
        arrays = warm[f"numpy_batches, by epoch {batch}"]  # by epoch, as the peers are measured
        rates_beside(figure, resident, "tutorial", tutorial, {128: 1.5, 1024: 3}.get(batch))
        rates_beside(figure, resident, "numpy", by_numpy, {1024: 0.8}.get(batch))
        rates_beside(f"{figure}, numpy_batches", arrays, "numpy", by_numpy, None)
    for backend, rates in result["fit"].items():
        figure = f"epoch in one call, {backend}, batch 128"
        for peer in ("fit, make_train", "fit, arrays"):
            rates_beside(figure, rates["fit_on_device"], peer, rates[peer], 5)
    lines = ["| figure | ratio | ours | beside | goal |", "|---|---|---|---|---|"]
    for name, ratio, value, peer, goal in rows:
        lines.append(f"| {name} | {ratio:.2f} | {value} | {peer} | {goal or '-'} |")
    step = result["step"]
    for dtype in ("float32", "uint8"):
        lost, own = 100 * step[f"lost {dtype}"], 100 * step[f"lost {dtype}, repeated"]
        low, high = (100 * share for share in step[f"lost {dtype}, quartiles"])
        lines.append(
            f"| training step lost to input, {dtype} | {lost:.1f} % ({low:.1f} to {high:.1f}) "
            f"| {own:.1f} % with a data set of one repeated batch | constant batch | < 2 % |"
        )
    more = (result["stream_epoch"]["peak_bytes"] - result["bare"]["peak_bytes"]) / 1e6
    lines.append(f"| peak memory of stream | +{more:.0f} MB | - | bare TensorFlow | < 150 MB |")
    lines += [
        "",
        "| warm epochs, images/s | " + " | ".join(map(str, benchmark_cases.BATCHES)) + " |",
        "|---" * 4 + "|",
    ]
    for name in _peers(warm):
        figures = (f"{warm[f'{name} {b}']:,.0f}" for b in benchmark_cases.BATCHES)
        lines.append(f"| {name} | " + " | ".join(figures) + " |")
    absent = ", ".join(warm["absent"]) or "none"
    return "\n".join([*lines, "", f"Absent peers: {absent}."])


def chart(result: dict[str, Any], path: pathlib.Path) -> None:
    """Draws the warm rates by batch size as horizontal bars, one panel per batch size."""
    import matplotlib.figure

    warm = result["warm"]
    figure = matplotlib.figure.Figure(figsize=(11, 4.2), layout="constrained")
    panels = figure.subplots(1, len(benchmark_cases.BATCHES), sharey=True)
    names = _peers(warm)[::-1]
    for panel, batch in zip(panels, benchmark_cases.BATCHES, strict=True):
        rates = [warm[f"{name} {batch}"] / 1e6 for name in names]
        colors = ["#c0392b" if n.startswith(_OURS) else "#7f8c8d" for n in names]
        bars = panel.barh(names, rates, color=colors)
        panel.bar_label(bars, [f"{rate:.3g}" for rate in rates], padding=2, fontsize=8)
        # memcpy is 100 times and more above some peers.
        panel.set(title=f"batch {batch}", xlabel="million images/s (logarithmic)", xscale="log")
        panel.set_xlim(min(rates) / 2, max(rates) * 4)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Warm epochs, shuffled float32 in [0, 1] (red: this package)")
    figure.savefig(path, dpi=130)


def _peers(warm: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(key.rpartition(" ")[0] for key in warm if key[-1].isdigit()))


def _case(name: str, data_dir: str, files: str, *, backend: str = "tensorflow") -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "result.json"
        started = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "fmnist_tfds.benchmark.cases",
            name,
            data_dir,
            files,
            str(out),
        ]
        os.putenv("KERAS_BACKEND", backend)  # for the case: nothing is read here
        subprocess.run(command, check=True, timeout=_TIMEOUT_S, capture_output=True)
        wall = time.perf_counter() - started
        return {**json.loads(out.read_text(encoding="utf-8")), "process_seconds": wall}


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}
