"""Quickstart without any source: the stand-in, said so everywhere."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest

from fmnist_tfds import cli, plots

REPO = pathlib.Path(__file__).resolve().parent.parent
PICTURES = ("samples.png", "training_curve.png", "confusion_matrix.png")


@pytest.mark.slow
def test_quickstart_without_a_source_never_passes_the_stand_in_off(tmp_path, closed_port, capfd):
    out = tmp_path / "out"
    code = cli.run(
        [
            "quickstart",
            f"--mirrors=http://127.0.0.1:{closed_port}/",
            f"--out={out}",
            "--epochs=1",
        ]
    )
    said = capfd.readouterr()
    assert code == 0
    assert "connect-refused" in said.err
    assert said.err.count("this is NOT Fashion-MNIST") >= 2
    assert "SYNTHETIC" in said.out
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["data"] == "synthetic"
    assert "NOT Fashion-MNIST" in metrics["WARNING"]
    assert json.loads((out / "receipt.json").read_text())["data"] == "synthetic"
    for name in PICTURES:
        assert (out / name).read_bytes()[:4] == b"\x89PNG"


def test_every_picture_of_the_stand_in_carries_the_banner():
    figure = plots._figure((4, 4), True, "title")
    assert plots.SYNTHETIC_BANNER in figure.get_suptitle()
    assert plots.SYNTHETIC_BANNER not in plots._figure((4, 4), False, "title").get_suptitle()


def test_script_installs_the_package_where_python_only_sees_it_in_this_folder(tmp_path):
    python, log = tmp_path / "bin" / "python", tmp_path / "log"
    python.parent.mkdir()
    python.write_text(
        f"""#!/bin/sh
echo "$@" >> "{log}"
case "$*" in *"pip install"*) cp "$0" "$(dirname "$0")/fmnist-tfds";; esac
"""
    )
    python.chmod(0o755)
    done = subprocess.run(
        [REPO / "scripts" / "quickstart.sh", "--offline"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "VIRTUAL_ENV": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "pip install" in log.read_text()
    assert log.read_text().splitlines()[-1] == "quickstart --offline"


def test_quickstart_to_an_unwritable_folder_is_one_message(tmp_path, capsys):
    blocker = tmp_path / "file"
    blocker.write_text("")
    assert cli.run(["quickstart", f"--out={blocker / 'out'}", "--mirrors=off"]) == 3
    assert "cannot write to" in capsys.readouterr().err
