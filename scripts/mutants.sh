#!/usr/bin/env bash
# Builds small faults into one wing of the package, one at a time, and runs the tests that should
# notice: scripts/mutants.sh WING [COUNT] [SEED]. By hand, not in CI. WING is a folder or file of
# fmnist_tfds/, as formats or download/policy or obtain.py.
#
# The faults are cosmic-ray's (comparisons, operators, numbers, booleans, breaks, exceptions, loops
# that never run, …) in a copy of the tree, COUNT of them (default 25) drawn by SEED (default 1). The
# tests are those that run the faulty line, the quickest first, up to 90 s: all tests run once under
# coverage (with branches) to learn which, 15 minutes. COVERED=FOLDER keeps that for the next wing; the
# folder holds coverage.txt too. Needs `pip install cosmic-ray coverage`.
# Prints each survivor as a diff and, at the end, killed of tried; scores are in CONTRIBUTING.md.
set -euo pipefail
cd "$(dirname "$0")/.."
wing="${1:?which wing? a folder of fmnist_tfds/, as formats or download/policy}" count="${2:-25}" seed="${3:-1}"
[ -e "fmnist_tfds/$wing" ] || { echo "fmnist_tfds/$wing: no such file or folder" >&2; exit 2; }

copy="$(mktemp -d)"
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/pristine"
git ls-files -z | xargs -0 cp --parents -t "$copy"
git ls-files -z fmnist_tfds | xargs -0 cp --parents -t "$copy/pristine"
covered="${COVERED:-$copy/covered}"
data="${FMNIST_TFDS_TEST_DATA:-$PWD/../shared/fashion-mnist}"
[ ! -d "$data" ] || export FMNIST_TFDS_TEST_DATA="$data"
mkdir -p "$covered"
covered="$(cd "$covered" && pwd)"
cd "$copy"
export PYTHONPATH="$copy:$copy/scripts" TF_CPP_MIN_LOG_LEVEL=2

cat > covered.toml <<'TOML'
[tool.coverage.run]
branch = true
parallel = true
relative_files = true
patch = ["subprocess", "_exit"]
context = "${PYTEST_CURRENT_TEST-}"
source = ["fmnist_tfds"]
TOML
if [ ! -e "$covered/.coverage" ]; then
  COVERAGE_PROCESS_START="$copy/covered.toml" \
    python -m pytest -q -p mutants -p no:cacheprovider -n 3 --dist=loadfile tests || echo "(some tests failed under coverage)"
  coverage combine -q --rcfile=covered.toml
  coverage report --rcfile=covered.toml --show-missing > "$covered/coverage.txt"
  cp .coverage mutants-seconds.jsonl "$covered"
fi
cp "$covered/.coverage" "$covered/mutants-seconds.jsonl" .

cat > mutants.toml <<TOML
[cosmic-ray]
module-path = "fmnist_tfds/$wing"
timeout = 600.0
excluded-modules = []
test-command = "python scripts/mutants.py test pristine"
[cosmic-ray.distributor]
name = "local"
TOML
cosmic-ray init mutants.toml mutants.sqlite
python scripts/mutants.py sample mutants.sqlite --count="$count" --seed="$seed"
cosmic-ray exec mutants.toml mutants.sqlite
python scripts/mutants.py report mutants.sqlite
