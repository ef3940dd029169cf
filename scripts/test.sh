#!/usr/bin/env bash
# Everything that must hold: ruff, mypy, then the tests (import laws included).
# Uses the environment in $VIRTUAL_ENV or .venv; makes .venv with the extra `test` if there is none.
# Arguments go to pytest: scripts/test.sh -k config. Three workers, a file to each at a time, keep two
# cores busy, since tests wait for their servers; -n 0 for one.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${VIRTUAL_ENV:-$PWD/.venv}"
if [ ! -x "$venv/bin/python" ]; then
  python="${PYTHON:-python3}"
  if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
    echo "$python is not Python 3.11 to 3.13; name one: PYTHON=python3.12 $0" >&2
    exit 2
  fi
  # Half an environment (Debian without python3-venv) would be taken for a whole one the next time.
  # Python 3.11's own pip takes three times the newest one's time to install TensorFlow.
  "$python" -m venv "$venv" --upgrade-deps || { rm -f "$venv"/bin/python*; exit 1; }
fi
# What the extra `test` brings; an environment of the day before yesterday may lack some of it.
tools="absl dill hypothesis jinja2 matplotlib mypy pandas PIL pyarrow pytest ruff socks tensorflow_datasets xdist"
checks=()
if ! "$venv/bin/python" -c '
import importlib.util, sys
sys.exit(not all(map(importlib.util.find_spec, ["fmnist_tfds", *sys.argv[1:]])))' $tools; then
  # setuptools warns of every editable installation.
  PYTHONWARNINGS="ignore:Editable installation" \
    "$venv/bin/python" -m pip install --quiet --no-compile --editable '.[test]'
  # What the tests import is compiled once, beside mypy, and not by every worker.
  "$venv/bin/python" -m pytest --collect-only -qq >/dev/null 2>&1 || true &
  checks+=("$!")
fi
export PATH="$venv/bin:$PATH" TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"
ruff check .
ruff format --check .
for platform in linux darwin win32; do
  mypy --platform="$platform" --cache-dir=".mypy_cache/$platform" &
  checks+=("$!")
done
for check in "${checks[@]}"; do
  wait "$check"
done
exec python -m pytest -n 3 --dist=loadfile "$@"
