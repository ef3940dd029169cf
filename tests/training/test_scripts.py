"""scripts/speedrun.py and scripts/from_empty_disk.py, whole, on little data and little training."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest
import stand_in

REPO = pathlib.Path(__file__).resolve().parents[2]
TRAINING = """[training]
dataset = "{dataset}"
epochs = 1
batch_size = 100
eval_batch_size = 1000
learning_rate = 2e-3
seed = 0
split = "train[:1000]"
validation_split = ""
verify = {verify}
"""


def _config(path: pathlib.Path, dataset: str, *, verify: bool) -> pathlib.Path:
    path.write_text(TRAINING.format(dataset=dataset, verify=str(verify).lower()))
    return path


def _script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, f"scripts/{name}", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=REPO,
    )


def test_speedrun_trains_each_configuration_with_each_seed(tmp_path):
    data_dir = stand_in.prepare(tmp_path / "tfds")
    config = _config(tmp_path / "quick.toml", "fmnist_synthetic", verify=False)
    arguments = (f"--data_dir={data_dir}", "--seeds=2", "--epochs", "1", "2", "--", config)
    done = _script("speedrun.py", *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    *lines, figures = done.stdout.splitlines()
    found = json.loads(figures)
    assert {name: len(runs) for name, runs in found.items()} == {
        "quick, 1 epochs": 2,
        "quick, 2 epochs": 2,
    }
    for line, (name, runs) in zip(lines, found.items(), strict=True):
        mean = sum(100 * run["test_accuracy"] for run in runs) / 2
        assert line.startswith(f"{name}: {mean:.2f} ± ")
        assert runs[0]["test_accuracy"] != runs[1]["test_accuracy"], "two seeds are two trainings"


def test_speedrun_fails_where_a_training_fails(tmp_path):
    config = _config(tmp_path / "quick.toml", "fmnist_synthetic", verify=False)
    done = _script("speedrun.py", f"--data_dir={tmp_path}", config)
    assert done.returncode == 1
    assert "no prepared data set" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.network_parts
@pytest.mark.slow
def test_from_an_empty_disk_in_a_bad_network_ours_alone_arrives(real_data, tmp_path):
    config = _config(tmp_path / "quick.toml", "fmnist_resilient", verify=True)
    done = _script("from_empty_disk.py", f"--files={real_data}", f"--config={config}")
    if done.returncode == 2 and "needs" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    rows = {row["who"]: row for row in json.loads(done.stdout.splitlines()[-1])}
    ours = rows["fmnist_tfds"]
    assert ours["outcome"] == f"trained to {ours['accuracy']:.2%}"
    assert ours["accuracy"] > 0.5
    for stock in ("stock TFDS", "stock Keras"):
        assert rows[stock]["outcome"].startswith(("fails", "still hanging"))
        assert rows[stock]["accuracy"] == 0
