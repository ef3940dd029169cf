"""What setup.py asks of an environment is true, and asked of the test environments too."""

from __future__ import annotations

import os
import pathlib
import re
import runpy
import subprocess
from unittest import mock

import pytest
from packaging import requirements

REPO = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def setup() -> dict[str, object]:
    """The arguments that setup.py gives to setuptools."""
    with mock.patch("setuptools.setup") as called:
        runpy.run_path(str(REPO / "setup.py"))
    return called.call_args.kwargs


def test_oldest_versions_are_every_lower_bound_and_nothing_else(setup):
    """A pin of a package that setup.py does not name would hide what pip chooses for users."""
    lower = set()
    for requirement in map(requirements.Requirement, setup["install_requires"]):
        (version,) = (s.version for s in requirement.specifier if s.operator == ">=")
        lower.add((requirement.name, f"=={version}"))
    lines = (REPO / "tests" / "oldest-versions.txt").read_text(encoding="utf-8").splitlines()
    pins = [requirements.Requirement(line) for line in lines if line and line[0] != "#"]
    assert {(p.name, str(p.specifier)) for p in pins} == lower


def test_test_script_looks_for_every_package_of_the_extra_test(setup):
    """Else it takes an environment that lacks one for complete, and tests fail there."""
    modules = {"PySocks": "socks", "pillow": "PIL", "types-requests": None, "pytest-xdist": "xdist"}
    names = [requirements.Requirement(text).name for text in setup["extras_require"]["test"]]
    (tools,) = re.findall(
        r'^tools="(.*)"$', (REPO / "scripts" / "test.sh").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {modules.get(name, name) for name in names} - {None} <= set(tools.split())


@pytest.mark.parametrize("script", ["test.sh", "quickstart.sh"])
@pytest.mark.parametrize(
    ("fails", "said"), [("-c", "is not Python 3.11 to 3.13"), ("-m venv", "no ensurepip")]
)
def test_script_leaves_no_half_environment_that_the_next_run_takes(script, fails, said, tmp_path):
    python, venv = tmp_path / "some-python", tmp_path / "venv"
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in "-m venv "*) mkdir -p "$3/bin"; cp /bin/sh "$3/bin/python";; esac\n'
        f'case "$*" in "{fails} "*) echo no ensurepip >&2; exit 1;; esac\n'
    )
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", REPO / "scripts" / script],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "VIRTUAL_ENV": str(venv), "PYTHON": str(python)},
    )
    assert done.returncode != 0
    assert said in done.stderr
    assert not (venv / "bin" / "python").exists()
