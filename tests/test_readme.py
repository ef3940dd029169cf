"""README and ARCHITECTURE: commands parse, links lead somewhere, the code map is the code."""

from __future__ import annotations

import gzip
import os
import pathlib
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable

import forked
import pytest

from fmnist_tfds.cli import main

REPO = pathlib.Path(__file__).resolve().parent.parent
README = (REPO / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (REPO / "ARCHITECTURE.md").read_text(encoding="utf-8")
PAGES = sorted([REPO / "README.md", *(REPO / "docs").glob("*.md")])
_COMMAND = re.compile(r"^(?:\w+=\S+ )*(fmnist-tfds [^#|>\n]*)", re.MULTILINE)


def _commands(page: pathlib.Path) -> list[str]:
    fences = re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    joined = "\n".join(fences).replace("\\\n", " ")
    return [match.strip() for match in _COMMAND.findall(joined) if "…" not in match]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_shown_command_exists_with_its_flags(page):
    for line in _commands(page):
        words = shlex.split(line)[1:]
        if words and words[0] in ("--help", "COMMAND"):
            continue
        assert words[0] in main.COMMANDS, line
        main._parser().parse_strictly(words)


def _fence_with(text: str) -> str:
    fences = re.findall(r"^```\w*\n(.*?)^```", README, re.M | re.S)
    return next(fence for fence in fences if text in fence)


@pytest.fixture
def reader(real_data, tmp_path) -> Callable[[list[str]], None]:
    """Runs a command as a reader of the README would, in a folder of its own."""
    for name in ("fmnist-tfds", "python"):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        module = "-m fmnist_tfds.cli.main " if name == "fmnist-tfds" else ""
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module}"$@"\n')
        command.chmod(0o755)
    (tmp_path / "here").mkdir()
    environ = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPO),
        "PYTHONWARNINGS": "ignore",
        "KERAS_HOME": str(tmp_path / "keras"),
        "FMNIST_TFDS_MIRRORS": str(real_data),
    }

    def run(words: list[str]) -> None:
        here = tmp_path / "here"
        if words[0] == "python":
            done = forked.run(*words[1:], environ=environ, cwd=here)
        else:
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=900, cwd=here, env=environ
            )
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"

    return run


@pytest.mark.slow
def test_readme_commands_for_a_bad_network_run(reader, real_data, tmp_path):
    with zipfile.ZipFile(tmp_path / "here" / "kaggle.zip", "w") as archive:
        for path in real_data.glob("*.gz"):
            archive.writestr(path.stem, gzip.decompress(path.read_bytes()))
    lines = _fence_with("fmnist-tfds doctor ").splitlines()
    for line in lines:
        if (
            "fmnist-tfds serve" not in line
        ):  # runs until it is stopped: tests/exchange/test_serve.py
            reader(["bash", "-c", line])
    assert (tmp_path / "keras" / "datasets" / "fashion-mnist").is_dir()


@pytest.mark.slow
def test_ways_to_use_it_in_the_readme_and_on_the_site_run(reader, real_data, tmp_path):
    def here(fence: str) -> str:
        assert "/data/tfds" in fence or "load_data" in fence
        # One epoch shows as much as five.
        return fence.replace("/data/tfds", str(tmp_path / "tfds")).replace("epochs=5", "epochs=1")

    build = _fence_with("fmnist-tfds build --data_dir").splitlines()[1]
    reader(["bash", "-c", here(build).replace("https://mirror.example/fmnist/", str(real_data))])
    reader(["python", "-c", here(_fence_with("with_info=True"))])
    model = (
        "import keras\n"
        "model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(),\n"
        "                          keras.layers.Dense(10, activation='softmax')])\n"
        "model.compile(loss='sparse_categorical_crossentropy')\n"
    )
    # In the same process the first lines of the site, which begin with the same build.
    site = (REPO / "docs" / "index.md").read_text(encoding="utf-8")
    (first_lines,) = re.findall(r"^```python\n(.*?)^```$", site, re.M | re.S)
    assert "\nfmnist-tfds build --data_dir=tfds\n" in site
    (tmp_path / "here" / "tfds").symlink_to(tmp_path / "tfds")
    reader(["python", "-c", model + here(_fence_with("make_eval")) + first_lines])
    reader(["python", "-c", here(_fence_with("import load_data"))])


def test_readme_shows_every_command_but_the_plain_ones():
    for command in main.COMMANDS:
        assert f"fmnist-tfds {command}" in README or command in (
            "quickstart",
            "benchmark",
            "completion",
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_relative_link_leads_to_a_file(page):
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_architecture_names_files_that_exist_and_every_module_of_the_top_room():
    package = REPO / "fmnist_tfds"
    code_map = ARCHITECTURE.partition("```\n")[2].partition("```")[0]
    names = set(re.findall(r"\b(\w+\.py)\b", code_map))
    present = {path.name for path in package.rglob("*.py")}
    assert names <= present, names - present
    top = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    assert top <= names, top - names
    assert len(ARCHITECTURE.splitlines()) <= 120
