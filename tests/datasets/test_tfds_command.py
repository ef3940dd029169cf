"""TFDS's own command line, in a process of its own, against a loopback mirror."""

from __future__ import annotations

import os
import pathlib
import subprocess

import forked
import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.needs_build


def _tfds_build(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **variables}
    return forked.run(*forked.TFDS, "build", *arguments, environ=environ, cwd=REPO)


def _is_prepared(data_dir: pathlib.Path) -> bool:
    return (data_dir / "fmnist_resilient" / "1.0.0" / "dataset_info.json").exists()


def test_tfds_build_by_name_fails_over_to_the_second_mirror(real_mirror, closed_port, tmp_path):
    done = _tfds_build(
        "fmnist_resilient",
        "--imports=fmnist_tfds",
        f"--data_dir={tmp_path}",
        FMNIST_TFDS_MIRRORS=f"http://127.0.0.1:{closed_port}/,{real_mirror.url}",
    )
    assert done.returncode == 0, done.stderr
    assert "connect-refused" in done.stdout + done.stderr  # tqdm writes to stdout
    assert len([path for path in real_mirror.requests if path.endswith(".gz")]) == 4
    assert _is_prepared(tmp_path)


def test_tfds_build_by_path_takes_manual_dir_and_a_toml_file(real_data, tmp_path):
    toml = tmp_path / "site.toml"
    toml.write_text(f'order = "off"\n[cache]\ndir = "{tmp_path / "cache"}"\n')
    done = _tfds_build(
        "fmnist_tfds/datasets/fmnist_resilient",
        f"--data_dir={tmp_path / 'tfds'}",
        f"--manual_dir={real_data}",
        FMNIST_TFDS_CONFIG=str(toml),
    )
    assert done.returncode == 0, done.stderr
    assert _is_prepared(tmp_path / "tfds")


def test_tfds_build_never_falls_back_to_the_stand_in(closed_port, tmp_path):
    done = _tfds_build(
        "fmnist_resilient",
        "--imports=fmnist_tfds",
        f"--data_dir={tmp_path}",
        FMNIST_TFDS_MIRRORS=f"http://127.0.0.1:{closed_port}/",
    )
    assert done.returncode != 0
    assert "could not obtain" in done.stderr
    assert "--manual_dir" in done.stderr
    assert not list(tmp_path.rglob("*.tfrecord*"))
