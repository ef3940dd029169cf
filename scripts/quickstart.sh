#!/usr/bin/env bash
# The first five minutes: a virtual environment, the package, the data, a trained model, pictures.
# Arguments go to `fmnist-tfds quickstart`: scripts/quickstart.sh --manual_dir=/mnt/fmnist
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${VIRTUAL_ENV:-$PWD/.venv}"
if [ ! -x "$venv/bin/python" ]; then
  "${PYTHON:-python3}" -m venv "$venv"
fi
# Python finds fmnist_tfds in this folder also where it is not installed: then there is no command.
if [ ! -x "$venv/bin/fmnist-tfds" ] || ! "$venv/bin/python" -c 'import matplotlib' 2>/dev/null; then
  echo "installing the package into $venv (TensorFlow is large: a few minutes)" >&2
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[plots]'
fi
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-3}"
exec "$venv/bin/fmnist-tfds" quickstart "$@"
