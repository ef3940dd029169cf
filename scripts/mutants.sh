#!/usr/bin/env bash
# Builds small faults into one wing of the package, one at a time, and runs the tests that should
# notice: scripts/mutants.sh WING [COUNT] [SEED]. By hand, not in CI: a wing takes minutes to an hour.
#
# The faults are cosmic-ray's (comparisons, operators, numbers, booleans, breaks, exceptions, loops
# that never run, …) in a copy of the tree, COUNT of them (default 25) drawn by SEED (default 1).
# The tests are the wing's own folder, and what is named below. Needs `pip install cosmic-ray`.
# Prints each survivor as a diff and, at the end, killed of tried; scores are in CONTRIBUTING.md.
set -euo pipefail
cd "$(dirname "$0")/.."
wing="${1:?which wing? a folder of fmnist_tfds/, as formats or download/policy}" count="${2:-25}" seed="${3:-1}"
[ -d "fmnist_tfds/$wing" ] || { echo "fmnist_tfds/$wing: no such folder" >&2; exit 2; }
case "$wing" in
  config) tests="tests/config tests/cli/test_cli_settings.py" ;;
  datasets) tests="tests/datasets tests/cluster" ;;
  formats) tests="tests/formats tests/download/test_identify.py" ;;
  download*) tests="tests/download tests/test_obtain.py tests/test_obtain_promises.py tests/lab" ;;
  *) tests="tests/$wing" ;;
esac

copy="$(mktemp -d)"
trap 'rm -rf "$copy"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$copy"
data="${FMNIST_TFDS_TEST_DATA:-$PWD/../shared/fashion-mnist}"
[ ! -d "$data" ] || export FMNIST_TFDS_TEST_DATA="$data"
cd "$copy"
export PYTHONPATH="$copy" TF_CPP_MIN_LOG_LEVEL=2
cat > "$copy/mutants.toml" <<TOML
[cosmic-ray]
module-path = "fmnist_tfds/$wing"
timeout = 600.0
excluded-modules = []
test-command = "python -m pytest -x -q -p no:cacheprovider $tests"
[cosmic-ray.distributor]
name = "local"
TOML
cosmic-ray init mutants.toml mutants.sqlite
python scripts/sample_mutants.py mutants.sqlite --count="$count" --seed="$seed"
cosmic-ray baseline mutants.toml || { echo "the tests fail without any fault" >&2; exit 1; }
cosmic-ray exec mutants.toml mutants.sqlite
python scripts/sample_mutants.py mutants.sqlite --report
