"""A container's user without a name, and HOME unset or empty: what needs no home folder works."""

from __future__ import annotations

import subprocess
import sys

import pytest

_NOBODY = """
import os, pwd, sys

def nobody(*number):
    raise KeyError("no such user")

pwd.getpwuid = nobody
from fmnist_tfds.cli import main
main.main(sys.argv[1:])
"""


@pytest.fixture(params=["unset", "empty"])
def nobody(request, tmp_path):
    """Runs one command as nobody, in a folder of its own."""
    here = tmp_path / "here"
    here.mkdir()
    environment = {"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "2"}
    if request.param == "empty":
        environment["HOME"] = ""

    def run(*line):
        return subprocess.run(
            [sys.executable, "-c", _NOBODY, *map(str, line)],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
        )

    return run


def test_commands_with_a_cache_of_their_own_work(nobody, real_data, tmp_path):
    cache = f"--cache_dir={tmp_path / 'cache'}"
    out = tmp_path / "out"
    for line in (
        ("config", cache),
        ("fetch", cache, f"--mirrors={real_data}", f"--out={out}"),
        ("verify", out),
        ("plant", "keras", cache, "--offline", f"--root={tmp_path / 'keras'}"),
        ("bundle", "export", tmp_path / "f.zip", cache, "--offline"),
        ("doctor", cache, "--mirrors=off", "--adopt_local"),
        ("build", cache, "--mirrors=off", f"--manual_dir={out}", f"--data_dir={tmp_path / 'd'}"),
    ):
        done = nobody(*line)
        assert done.returncode == 0, (line, done.stderr)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (("config",), "--cache_dir or FMNIST_TFDS_CACHE_DIR"),
        (("fetch", "--offline"), "--cache_dir or FMNIST_TFDS_CACHE_DIR"),
        (("fetch", "--mirrors=~/data", "--cache_dir=c"), "write the path in full"),
        (("fetch", "--offline", "--manual_dir=~/data", "--cache_dir=c"), "write the path in full"),
        (("config", "--config_file=~/f.toml", "--cache_dir=c"), "write the path in full"),
    ],
)
def test_what_needs_a_home_folder_says_so_and_names_the_other_place(nobody, line, hint):
    done = nobody(*line)
    assert done.returncode == 2
    assert "this user has no home folder" in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
