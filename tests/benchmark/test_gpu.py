"""The benchmark for accelerators, on the CPU: which cases, what is kept of them, what is needed."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

from fmnist_tfds.benchmark import rivals

REPO = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = REPO / "scripts" / "benchmark_gpu.py"
pytestmark = pytest.mark.needs_jax

# As on a machine with JAX that got the pack: nothing else is installed there.
_ONLY_THE_PACK = """
import importlib.metadata, importlib.util, re, runpy, sys
wheels = runpy.run_path("scripts/pack_gpu.py")["WHEELS"]
there = {"jax", "jaxlib", "ml-dtypes", "numpy", "opt-einsum", "scipy", "fmnist-tfds", *wheels}
hidden = {
    root
    for root, names in importlib.metadata.packages_distributions().items()
    if not there & {re.sub("[-_.]+", "-", name).lower() for name in names}
} - sys.stdlib_module_names
assert {"tensorflow", "tensorflow_datasets", "pandas"} <= hidden
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
found = importlib.util.find_spec
def find_spec(name, package=None):
    return None if name.partition(".")[0] in hidden else found(name, package)
importlib.util.find_spec = find_spec
sys.argv = ["benchmark_gpu.py", *sys.argv[1:]]
runpy.run_path("scripts/benchmark_gpu.py", run_name="__main__")
"""


def _gpu():
    from fmnist_tfds.benchmark import gpu, gpu_cases

    return gpu, gpu_cases


def _data(count=40):
    arrays = np.zeros((count, 28, 28), np.uint8), np.zeros(count, np.uint8)
    return _gpu()[1].Splits(arrays, arrays)


@pytest.mark.slow
def test_every_case_runs_with_nothing_but_jax_and_what_the_pack_holds(real_data, tmp_path):
    out = tmp_path / "out.json"
    # Whole batches and a smaller last one; one run of the speedrun.
    tiny = ["--examples=5", "--batch_sizes=2", "--turns=1", "--case_s=0", "--speedrun_s=0"]
    tiny += ["--budget_s=9999", "--models=small_cnn", "--precisions=mixed_bfloat16"]
    command = [sys.executable, "-c", _ONLY_THE_PACK, f"--data={real_data}", f"--out={out}", *tiny]
    # XLA's older emitters compile in half the time; a release without them knows no such flag.
    for flags in ("--xla_cpu_use_fusion_emitters=false", ""):
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            cwd=REPO,
            env={
                **os.environ,
                "PYTHONPATH": str(REPO),
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": flags,
            },
        )
        if "Unknown flag" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr[-3000:]
    kept = json.loads(out.read_text())
    assert (kept["card"], kept["examples"], kept["not_run"]) == ("cpu", 5, [])
    found = {case["kind"]: case for case in kept["cases"]}
    rivals = {kind: set(case.get("seconds", ())) for kind, case in found.items()}
    assert rivals == {
        "scan": {"ceiling", "fed"},
        "loader": {"device", "host", "loader"},
        "steps": {"constant", "uint8", "indices", "float32", "fit"},
        "speedrun": set(),
    }
    for kind in ("scan", "loader", "steps"):
        assert all(len(turns) == 1 for turns in found[kind]["seconds"].values())
        assert set(found[kind]["first_s"]) == rivals[kind]
    assert found["speedrun"]["runs"] == 1
    assert 0 <= found["speedrun"]["accuracy_mean"] <= 1
    assert found["speedrun"]["cold_s"] >= found["speedrun"]["warm_s"] > 0
    assert "\nspeedrun: " in done.stdout
    assert found["scan"]["images"] == {"ceiling": 5, "fed": 5}
    assert "| scan, small_cnn, mixed_bfloat16, batch 2: fed |" in done.stdout


def test_plan_begins_with_the_goals_and_holds_every_case_once():
    gpu, _ = _gpu()
    cases = gpu.plan(["small_cnn", "wide_cnn"], ["mixed_bfloat16", "float32"], ["1024", "128"])
    first = [(case.kind, case.batch_size) for case in cases[:5]]
    assert first == [
        *(("scan", 1024), ("scan", 128), ("loader", 1024), ("steps", 1024), ("speedrun", 1024)),
    ]
    assert {(case.model, case.precision) for case in cases[:5]} == {("small_cnn", "mixed_bfloat16")}
    assert len(set(cases)) == len(cases) == 4 * 2 + 4 * 2 + 2 + 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((["big_cnn"], ["float32"], ["8"]), "model: expected one of small_cnn"),
        ((["small_cnn"], ["float8"], ["8"]), "precision: expected one of"),
        ((["small_cnn"], ["float32"], ["x"]), "batch_size"),
        ((["small_cnn"], ["float32"], ["0"]), "batch_size"),
    ],
)
def test_a_case_that_there_is_not_is_refused_before_any_work(words, said):
    from fmnist_tfds import errors

    with pytest.raises(errors.ConfigError, match=said):
        _gpu()[0].plan(*words)


def test_a_case_that_fails_is_kept_with_its_message_and_the_rest_goes_on(tmp_path):
    gpu, cases = _gpu()
    wrong = cases.Case("scan", "small_cnn", "no-such-policy", 8)
    told = []
    result = gpu.run(
        [wrong, cases.Case("loader", "small_cnn", "float32", 8)],
        _data(),
        budget_s=600,
        bounds=rivals.Bounds(1, 0, 0),
        out=tmp_path / "out.json",
        say=told.append,
    )
    failed, after = json.loads((tmp_path / "out.json").read_text())["cases"]
    assert "no-such-policy" in failed["failed"]
    assert after["kind"] == "loader"
    assert len(told) == 2
    table = gpu.table(result)
    assert f"scan, small_cnn, no-such-policy, batch 8: {failed['failed']}" in table


def test_a_run_that_is_cut_off_leaves_what_it_had(tmp_path):
    gpu, cases = _gpu()
    case = cases.Case("loader", "small_cnn", "float32", 8)
    left = 1

    def say(line):
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1

    with pytest.raises(KeyboardInterrupt):
        gpu.run(
            [case, case],
            _data(),
            budget_s=600,
            bounds=rivals.Bounds(1, 0, 0),
            out=tmp_path / "out.json",
            say=say,
        )
    assert len(json.loads((tmp_path / "out.json").read_text())["cases"]) == 1


def test_no_case_begins_after_the_budget_and_the_table_names_those(tmp_path):
    gpu, cases = _gpu()
    case = cases.Case("scan", "small_cnn", "float32", 8)
    result = gpu.run(
        [case],
        _data(),
        budget_s=0,
        bounds=rivals.Bounds(1, 0, 0),
        out=tmp_path / "out.json",
        say=pytest.fail,
    )
    assert result["not_run"] == [dataclasses.asdict(case)]
    assert "Not run within 0 s: scan, small_cnn, float32, batch 8." in gpu.table(result)


def test_a_long_case_of_one_kind_holds_up_no_case_of_another(tmp_path, monkeypatch):
    gpu, cases = _gpu()
    now = 0.0

    def takes(seconds):
        def case(case, splits, bounds):
            nonlocal now
            now += seconds
            return {}

        return case

    monkeypatch.setattr(gpu, "time", types.SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setitem(cases.KINDS, "steps", takes(60))
    monkeypatch.setitem(cases.KINDS, "scan", takes(10))
    kinds = ["scan", "steps", "scan", "steps", "loader", "scan"]
    result = gpu.run(
        [cases.Case(kind, "small_cnn", "float32", 8) for kind in kinds],
        _data(),
        budget_s=100,
        bounds=rivals.Bounds(1, 0, 0),
        out=tmp_path / "out.json",
        say=lambda line: None,
    )
    assert [case["kind"] for case in result["cases"]] == ["scan", "steps", "scan", "scan"]
    assert [case["kind"] for case in result["not_run"]] == ["steps", "loader"]


def test_a_batch_larger_than_the_data_is_refused(tmp_path):
    from fmnist_tfds import errors

    gpu, cases = _gpu()
    with pytest.raises(errors.ArgumentError, match="at most 40, the examples; got 41"):
        gpu.run(
            [cases.Case("scan", "small_cnn", "float32", 41)],
            _data(40),
            budget_s=9,
            bounds=rivals.Bounds(1, 0, 0),
            out=tmp_path / "out.json",
            say=pytest.fail,
        )


def test_table_sets_the_median_ratio_of_turns_beside_the_goal():
    gpu, cases = _gpu()
    case = dataclasses.asdict(cases.Case("scan", "small_cnn", "float32", 1024))
    seconds = {"ceiling": [1.0, 9.0, 2.0], "fed": [2.0, 10.0, 2.0]}
    loader = dataclasses.asdict(cases.Case("loader", "small_cnn", "float32", 1024))
    result = {
        **dict.fromkeys(("jax", "keras", "numpy", "python"), "1"),
        "card": "Card",
        "platform": "gpu",
        "examples": 60000,
        "not_run": [],
        "budget_s": 9,
        "cases": [
            {**case, "images": {"ceiling": 100, "fed": 100}, "seconds": seconds},
            {**loader, "images": {"loader": 60_000}, "seconds": {"loader": [0.002]}},
        ],
    }
    table = gpu.table(result)
    assert (
        "| scan, small_cnn, float32, batch 1024: fed | 50 | ceiling, 50 "
        "| 90.0% (50.0% to 100.0%) | 99% |" in table
    )
    assert "| loader, batch 1024: loader | 30,000,000 | - | - | 20,000,000 |" in table
    assert table.startswith("Card (gpu), Python 1, jax 1")
