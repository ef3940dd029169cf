"""scripts/speedrun.py, whole, on little data."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import types

import forked
import pytest
import stand_in

REPO = pathlib.Path(__file__).resolve().parents[2]
TRAINING = """[training]
dataset = "fmnist_synthetic"
epochs = 2
batch_size = 100
eval_batch_size = 1000
learning_rate = 2e-3
seed = 0
split = "train[:300]"
validation_split = ""
verify = false
"""


def _config(path: pathlib.Path) -> pathlib.Path:
    path.write_text(TRAINING)
    return path


@pytest.fixture
def speedrun(monkeypatch):
    """The script as a module; its processes begin with TensorFlow imported."""
    monkeypatch.syspath_prepend(REPO / "scripts")
    import speedrun

    def run(words, **_):
        assert words[0] == sys.executable
        return forked.run(*words[1:])

    monkeypatch.setattr(speedrun, "subprocess", types.SimpleNamespace(run=run, DEVNULL=None))
    return speedrun


def test_speedrun_trains_each_configuration_with_each_seed(tmp_path, speedrun, monkeypatch, capsys):
    data_dir = stand_in.prepare(tmp_path / "tfds")
    config = _config(tmp_path / "quick.toml")
    arguments = (f"--data_dir={data_dir}", "--seeds=2", "--epochs", "1", "--", str(config))
    monkeypatch.setattr(sys, "argv", ["speedrun.py", *arguments])
    capsys.readouterr()  # what preparing said
    assert speedrun.main() == 0
    *lines, figures = capsys.readouterr().out.splitlines()
    found = json.loads(figures)
    assert {name: len(runs) for name, runs in found.items()} == {"quick, 1 epochs": 2}
    for line, (name, runs) in zip(lines, found.items(), strict=True):
        mean = sum(100 * run["test_accuracy"] for run in runs) / 2
        assert line.startswith(f"{name}: {mean:.2f} ± ")
        assert [run["seed"] for run in runs] == [1, 2]


def test_speedrun_fails_where_a_training_fails(tmp_path):
    config = _config(tmp_path / "quick.toml")
    config.write_text(config.read_text() + "epoch = 3\n")
    done = subprocess.run(
        [sys.executable, "scripts/speedrun.py", f"--data_dir={tmp_path}", config],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=REPO,
    )
    assert done.returncode == 2
    assert "'epoch'" in done.stderr
    assert "Traceback" not in done.stderr
