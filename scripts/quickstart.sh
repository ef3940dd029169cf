#!/usr/bin/env bash
# The first five minutes: a virtual environment, the package, the data, a trained model, pictures.
# Arguments go to `fmnist-tfds quickstart`: scripts/quickstart.sh --manual_dir=/mnt/fmnist
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
# Python finds fmnist_tfds in this folder also where it is not installed: then there is no command.
if [ ! -x "$venv/bin/fmnist-tfds" ] || ! "$venv/bin/python" -c 'import matplotlib' 2>/dev/null; then
  echo "installing the package into $venv (TensorFlow is large: a few minutes)" >&2
  # setuptools warns of every editable installation.
  PYTHONWARNINGS="ignore:Editable installation" \
    "$venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check --editable '.[plots]'
fi
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-3}"
exec "$venv/bin/fmnist-tfds" quickstart "$@"
