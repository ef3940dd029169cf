"""README and ARCHITECTURE: commands parse, links lead somewhere, the code map is the code."""

from __future__ import annotations

import pathlib
import re
import shlex

import pytest

from fmnist_tfds import cli, cli_commands

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
        assert words[0] in cli_commands.COMMANDS, line
        cli._parser().parse_strictly(words)


def test_readme_shows_every_command_but_the_plain_ones():
    for command in cli_commands.COMMANDS:
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
