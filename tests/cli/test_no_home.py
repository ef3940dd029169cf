"""A container's user without a name, and HOME unset or empty: what needs no home folder works."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Runs command after command in one process, and prints their codes and what they say.
_NOBODY = """
import contextlib, io, json, pwd, sys

def nobody(*number):
    raise KeyError("no such user")

pwd.getpwuid = nobody
from fmnist_tfds.cli import main
done = []
for line in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main.run(line)
    done.append((code, said.getvalue()))
print(json.dumps(done))
"""


@pytest.fixture(params=["unset", "empty"])
def nobody(request, tmp_path):
    """Runs commands as nobody, in a folder of their own; gives (code, stderr) of each."""
    here = tmp_path / "here"
    here.mkdir()
    environment = {"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "2"}
    if request.param == "empty":
        environment["HOME"] = ""

    def run(lines):
        done = subprocess.run(
            [sys.executable, "-c", _NOBODY, json.dumps([list(map(str, line)) for line in lines])],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


NEEDS_A_HOME = (
    (("config",), "--cache_dir or FMNIST_TFDS_CACHE_DIR"),
    (("fetch", "--offline"), "--cache_dir or FMNIST_TFDS_CACHE_DIR"),
    (("fetch", "--mirrors=~/data", "--cache_dir=c"), "write the path in full"),
    (("fetch", "--offline", "--manual_dir=~/data", "--cache_dir=c"), "write the path in full"),
    (("config", "--config_file=~/f.toml", "--cache_dir=c"), "write the path in full"),
)


def test_what_needs_a_home_folder_says_so_and_all_else_works(nobody, real_data, tmp_path):
    cache = f"--cache_dir={tmp_path / 'cache'}"
    out = tmp_path / "out"
    few = ("--max_examples_per_split=5", f"--data_dir={tmp_path / 'd'}")
    works = (
        ("config", cache),
        ("fetch", cache, f"--mirrors={real_data}", f"--out={out}"),
        ("verify", out),
        ("plant", "keras", cache, "--offline", f"--root={tmp_path / 'keras'}"),
        ("bundle", "export", tmp_path / "f.zip", cache, "--offline"),
        ("doctor", cache, "--mirrors=off", "--adopt_local"),
        # The last: it leaves its flags to the rest of the process.
        ("build", cache, "--mirrors=off", f"--manual_dir={out}", *few),
    )
    done = nobody([*(line for line, _ in NEEDS_A_HOME), *works])
    for (line, hint), (code, said) in zip(NEEDS_A_HOME, done, strict=False):
        assert code == 2, (line, said)
        assert "this user has no home folder" in said
        assert hint in said
        assert "Traceback" not in said
    for line, (code, said) in zip(works, done[len(NEEDS_A_HOME) :], strict=True):
        assert code == 0, (line, said)
