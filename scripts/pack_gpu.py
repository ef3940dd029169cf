#!/usr/bin/env python3
"""Packs benchmark_gpu.py for a machine without a network: pack_gpu.py --data=FOLDER

The folder that it makes is to be carried there, where Python 3.12 has JAX; `sh build/gpu/run.sh`
takes the flags of benchmark_gpu.py. It holds Keras and what Keras and this package need as wheels,
the four .gz and this package.
"""

import argparse
import hashlib
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

from fmnist_tfds import catalog

REPO = pathlib.Path(__file__).resolve().parent.parent
MAX_BYTES = 60_000_000
# Of the C libraries of Linux that a machine of 2020 has.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
# What the benchmark imports; JAX brings numpy, scipy, ml_dtypes and opt_einsum itself.
WHEELS = (
    *("absl-py", "h5py", "keras", "namex", "optree", "packaging", "typing-extensions"),
    *("rich", "markdown-it-py", "mdurl", "pygments"),
    *("requests", "certifi", "charset-normalizer", "idna", "urllib3"),
    *("filelock", "platformdirs", "psutil", "truststore"),
)
# A wheel is a zip file: this needs no pip.
RUN = """#!/bin/sh
# sh run.sh --budget_s=480 --out=FILE.json, with JAX installed; $PYTHON names another Python.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
python="${PYTHON:-python3}"
if ! "$python" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "@VERSION@")'; then
  echo "$python is not Python @VERSION@, for which the wheels are: PYTHON=python@VERSION@ sh $0" >&2
  exit 2
fi
site="$(mktemp -d)"
trap 'rm -rf "$site"' EXIT
for wheel in "$here"/wheels/*.whl; do
  "$python" -m zipfile -e "$wheel" "$site"
done
PYTHONPATH="$here:$site" "$python" "$here/benchmark_gpu.py" --data="$here/data" "$@"
"""


class PackError(Exception):
    """The pack cannot be made; the message says why."""


def main(args: argparse.Namespace) -> int:
    """Makes the pack and says what is in it."""
    try:
        pack(args.data, args.out, python=args.python, wheels=args.wheels)
    except (PackError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    count = len(list(args.out.glob("wheels/*.whl")))
    print(f"{args.out}: {_size(args.out) / 1e6:.1f} MB, {count} wheels")
    return 0


def pack(
    data: pathlib.Path, out: pathlib.Path, *, python: str, wheels: pathlib.Path | None = None
) -> None:
    """Makes the folder `out`, whole or not at all.

    Args:
        data: folder of the four .gz.
        out: what is made; it may not be there yet.
        python: the version of the Python that will run it.
        wheels: folder of the wheels; None: pip downloads them.

    Raises:
        PackError: a file is not genuine, pip fails, or the whole is too large.
        OSError: something cannot be read or written.
    """
    if out.exists():
        raise PackError(f"{out} is there already: delete it, or choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        made = pathlib.Path(scratch) / "pack"
        (made / "data").mkdir(parents=True)
        for file in catalog.FASHION_MNIST.files:
            content = (data / file.name).read_bytes()
            if hashlib.sha256(content).hexdigest() != file.sha256:
                raise PackError(f"{data / file.name} is not genuine: `fmnist-tfds fetch` gets it")
            (made / "data" / file.name).write_bytes(content)
        (made / "wheels").mkdir()
        if wheels is None:
            _download(made / "wheels", python)
        else:
            for wheel in wheels.glob("*.whl"):
                shutil.copy(wheel, made / "wheels")
        for wheel in (made / "wheels").iterdir():
            _check_wheel(wheel)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPO / "fmnist_tfds", made / "fmnist_tfds", ignore=ignored)
        shutil.copy(REPO / "scripts" / "benchmark_gpu.py", made)
        (made / "run.sh").write_text(RUN.replace("@VERSION@", python), encoding="utf-8")
        if _size(made) > MAX_BYTES:
            raise PackError(f"expected at most {MAX_BYTES:,} bytes, got {_size(made):,}")
        made.rename(out)


def _size(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _download(folder: pathlib.Path, python: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", f"--python-version={python}", f"--dest={folder}"]
    command += [f"--platform={platform}" for platform in PLATFORMS]
    if subprocess.run([*command, *WHEELS], check=False).returncode:
        raise PackError("pip could not download the wheels; what it said stands above")


def _check_wheel(wheel: pathlib.Path) -> None:
    """Refuses one of which pip would move what Python imports."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if re.match(r"[^/]+\.data/(purelib|platlib)/", name):
                raise PackError(f"{wheel.name}: only pip can unpack it: {name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=pathlib.Path, required=True, help="folder of the four .gz")
    add("--out", type=pathlib.Path, default=pathlib.Path("build/gpu"), help="folder to make")
    add("--python", default="3.12", help="version of the Python that will run it")
    add("--wheels", type=pathlib.Path, help="folder of wheels, instead of pip's download")
    sys.exit(main(parser.parse_args()))
