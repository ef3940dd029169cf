"""The pack for a machine without a network: what is in it, and that it runs there."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import pytest

from fmnist_tfds import catalog

REPO = pathlib.Path(__file__).resolve().parents[2]
VERSION = "{}.{}".format(*sys.version_info[:2])


def _pack(*flags, python=VERSION):
    return subprocess.run(
        [sys.executable, REPO / "scripts" / "pack_gpu.py", f"--python={python}", *flags],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )


def _run(out, *flags):
    """As on that machine: nothing of this folder is on the path."""
    return subprocess.run(
        ["sh", out / "run.sh", *flags],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=out,
        env={**os.environ, "PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"},
    )


def _wheel(folder, member, content):
    folder.mkdir()
    with zipfile.ZipFile(folder / "word-1-py3-none-any.whl", "w") as archive:
        archive.writestr(member, content)
    return f"--wheels={folder}"


@pytest.fixture(scope="module")
def made(real_data, tmp_path_factory):
    """A pack with one wheel, which says that it was unpacked."""
    folder = tmp_path_factory.mktemp("pack")
    wheel = _wheel(folder / "wheels", "sitecustomize.py", "print('from the wheel')\n")
    done = _pack(f"--data={real_data}", f"--out={folder / 'new' / 'out'}", wheel)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r".*out: 3\d\.\d MB, 1 wheels\n", done.stdout)
    return folder / "new" / "out"


def test_pack_holds_the_genuine_files_the_package_and_the_benchmark(made):
    assert {path.name for path in made.iterdir()} == {
        *("benchmark_gpu.py", "data", "fmnist_tfds", "run.sh", "wheels"),
    }
    assert [path.name for path in made.parent.iterdir()] == ["out"]
    for file in catalog.FASHION_MNIST.files:
        content = (made / "data" / file.name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256
    wanted = {path.relative_to(REPO) for path in (REPO / "fmnist_tfds").rglob("*.py")}
    assert {path.relative_to(made) for path in made.rglob("fmnist_tfds/**/*.py")} == wanted


@pytest.mark.needs_jax
def test_run_unpacks_the_wheels_and_measures_with_what_the_pack_holds(made):
    done = _run(made, "--budget_s=0", "--batch_sizes=8", "--examples=8")
    assert done.returncode == 0, done.stderr
    assert "from the wheel" in done.stdout
    assert "Not run within 0 s: scan, small_cnn, mixed_bfloat16, batch 8" in done.stdout
    assert '"card": "cpu"' in (made / "benchmark-gpu.json").read_text()


def test_run_names_the_python_that_the_wheels_are_for(real_data, tmp_path):
    wheel = _wheel(tmp_path / "wheels", "word.py", "")
    done = _pack(f"--data={real_data}", f"--out={tmp_path / 'out'}", wheel, python="2.7")
    assert done.returncode == 0, done.stderr
    done = _run(tmp_path / "out")
    assert done.returncode == 2
    assert "is not Python 2.7, for which the wheels are: PYTHON=python2.7 sh" in done.stderr


@pytest.mark.parametrize(
    ("member", "size", "said"),
    [
        ("word-1.data/purelib/word.py", 1, "only pip can unpack it: word-1.data/purelib/word.py"),
        ("word.py", 30_000_000, "expected at most 60,000,000 bytes, got 6"),
    ],
)
def test_a_pack_that_would_not_do_is_refused_and_leaves_nothing(
    real_data, tmp_path, member, size, said
):
    wheel = _wheel(tmp_path / "wheels", member, bytes(size))
    done = _pack(f"--data={real_data}", f"--out={tmp_path / 'new' / 'out'}", wheel)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "new").iterdir()) == []


def test_files_that_are_not_genuine_are_refused(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for file in catalog.FASHION_MNIST.files:
        (data / file.name).write_bytes(b"something else")
    done = _pack(f"--data={data}", f"--out={tmp_path / 'out'}")
    assert done.returncode == 1
    assert "is not genuine: `fmnist-tfds fetch` gets it" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    done = _pack(f"--data={tmp_path}", f"--out={tmp_path / 'out'}")
    assert done.returncode == 1
    assert "is there already: delete it" in done.stderr
