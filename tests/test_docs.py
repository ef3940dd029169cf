"""The pages: errors and causes are all there, shown commands run, the site builds cleanly.

A fence below `<!-- run -->` or `<!-- run: exit N -->` is run by bash, in a folder that the page has
to itself, where `fashion-mnist/` holds the real files. A fence below `<!-- output -->` right after
it is what must come out; "…" stands for anything within a line.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

import fmnist_tfds
from fmnist_tfds import errors, input_pipeline
from fmnist_tfds.cli import output

REPO = pathlib.Path(__file__).resolve().parent.parent
DOCS = REPO / "docs"
PAGES = sorted(DOCS.glob("*.md"))
_FENCE = re.compile(
    r"^<!-- run(?:: exit (?P<code>\d+))? -->\n```bash\n(?P<script>.*?)^```$"
    r"(?:\n\n<!-- output -->\n```[a-z]*\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """One command shown on a page, with what it must do."""

    page: str
    script: str
    exit_code: int
    output: str | None


SHOWN = [
    Shown(page.name, m["script"], int(m["code"] or 0), m["output"])
    for page in PAGES
    for m in _FENCE.finditer(page.read_text(encoding="utf-8"))
]


def _headings(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^## (.+)$", text, re.MULTILINE)


def test_every_error_reference_has_its_section():
    kinds = [v for v in vars(errors).values() if isinstance(v, type)]
    references = {kind.reference for kind in kinds if issubclass(kind, errors.FmnistError)}
    assert set(_headings("errors.md")) == references


def test_every_error_section_shows_the_class_and_its_exit_code():
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    shown = re.findall(r"^`errors\.(\w+)`[^·]*· exit (\d)", text, re.MULTILINE)
    assert len(shown) == len(_headings("errors.md"))
    for name, code in shown:
        assert output.exit_code(getattr(errors, name)("")) == int(code), name


def test_the_page_of_causes_is_what_the_table_gives(monkeypatch):
    monkeypatch.syspath_prepend(REPO / "scripts")
    import write_causes

    shown = (DOCS / "causes.md").read_text(encoding="utf-8")
    assert shown == write_causes.page(), "run python scripts/write_causes.py"


def test_the_reference_is_what_the_settings_and_the_command_line_say(monkeypatch):
    monkeypatch.syspath_prepend(str(REPO / "scripts"))
    import write_reference

    for name, written in (
        ("configuration.md", write_reference.configuration()),
        ("commands.md", write_reference.commands()),
    ):
        shown = (DOCS / name).read_text(encoding="utf-8")
        assert shown == written, "run python scripts/write_reference.py"


def test_the_page_of_tfds_data_sets_is_what_this_tfds_gives():
    # In a process of its own: TFDS lists more names once some modules were imported.
    script = (
        "import write_tfds_data_sets as w; import tensorflow_datasets as t; "
        "shown = w.PAGE.read_text(encoding='utf-8'); "
        "print(f'datasets {t.__version__},' not in shown or shown == w.page())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPO / "scripts",
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "True", "run python scripts/write_tfds_data_sets.py"


def test_every_page_is_in_the_navigation_and_linked_from_the_first_page():
    navigation = (REPO / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    home = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        is_for_developers = f"not_in_nav: {page.name} " in (REPO / "mkdocs.yml").read_text("utf-8")
        assert (f": {page.name}\n" in navigation) != is_for_developers
        if is_for_developers:
            continue
        assert f"({page.name})" in home or page.name in ("index.md", "api.md")


def test_every_run_mark_is_understood():
    marks = sum(p.read_text(encoding="utf-8").count("<!-- run") for p in PAGES)
    outputs = sum(p.read_text(encoding="utf-8").count("<!-- output") for p in PAGES)
    assert marks == len(SHOWN) > 0
    assert outputs == sum(shown.output is not None for shown in SHOWN)


@pytest.mark.parametrize("page", sorted({shown.page for shown in SHOWN}))
def test_shown_commands_do_what_the_page_says(page, request, tmp_path):
    shown_here = [shown for shown in SHOWN if shown.page == page]
    folder = tmp_path / "reader"
    folder.mkdir()
    if any("fashion-mnist" in shown.script for shown in shown_here):
        (folder / "fashion-mnist").symlink_to(request.getfixturevalue("real_data"))
    entry = tmp_path / "bin" / "fmnist-tfds"
    entry.parent.mkdir()
    entry.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fmnist_tfds.cli.main "$@"\n')
    entry.chmod(0o755)
    python = entry.with_name("python")  # the one that runs the tests, virtual environment or not
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    environ = {
        **os.environ,
        "PATH": f"{entry.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPO),
        "NO_COLOR": "1",
        # The socket guard does not reach into a subprocess: no shown command may use the network.
        "FMNIST_TFDS_OFFLINE": "1",
    }
    for shown in shown_here:
        done = subprocess.run(
            ["bash", "-eu", "-c", shown.script],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=600,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == shown.exit_code, f"{shown.script}{printed}"
        assert "Traceback" not in printed
        if shown.output is not None:
            assert re.fullmatch(_pattern(shown.output), printed.strip("\n")), printed


def _pattern(output: str) -> str:
    lines = (".*".join(map(re.escape, line.split("…"))) for line in output.splitlines())
    return "\n".join(lines)


def test_api_page_names_every_public_name_once_and_no_private_one():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    blocks = re.findall(
        r"^::: ([\w.]+)$(?:\n {4}options:\n {6}members: \[(.*)\])?", text, re.MULTILINE
    )
    modules = [name for name, _ in blocks]
    assert len(modules) == len(set(modules)) == text.count("::: ")
    shown = []
    for name, members in blocks:
        module = importlib.import_module(name)
        own = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == name]
        names = members.split(", ") if members else own
        assert all(hasattr(module, each) for each in names), name
        shown += [each for each in names if not (each.startswith("_") and not members)]
    assert not [name for name in shown if name.startswith("_")]
    for name in (*fmnist_tfds.__all__, *input_pipeline.__all__):
        if name not in ("__version__", "input_pipeline"):
            assert shown.count(name) == 1, name


@pytest.mark.needs_docs
def test_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "api" / "index.html").is_file()
