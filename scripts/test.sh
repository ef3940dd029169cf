#!/usr/bin/env bash
# Everything that must hold: ruff, mypy, then the tests (import laws included).
# Uses the environment in $VIRTUAL_ENV or .venv; makes .venv with the extra `test` if there is none.
# Arguments go to pytest: scripts/test.sh -k config
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${VIRTUAL_ENV:-$PWD/.venv}"
if [ ! -x "$venv/bin/python" ]; then
  "${PYTHON:-python3}" -m venv "$venv"
fi
if ! "$venv/bin/python" -c 'import fmnist_tfds, pytest, mypy, hypothesis' 2>/dev/null; then
  "$venv/bin/python" -m pip install --quiet --editable '.[test]'
fi
export PATH="$venv/bin:$PATH" TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"
ruff check .
ruff format --check .
mypy
exec python -m pytest "$@"
