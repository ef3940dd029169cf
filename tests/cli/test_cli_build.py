"""build ends with its own two lines, and shows a bar while bytes arrive."""

from __future__ import annotations

import io
import os
import pathlib
import re
import subprocess
import sys

import pytest
from rich import console as rich_console

from fmnist_tfds.cli import output
from fmnist_tfds.download import progress

REPO = pathlib.Path(__file__).resolve().parents[2]


def test_build_says_where_how_many_and_how_to_load_and_nothing_else(real_data, tmp_path):
    command = [sys.executable, "-m", "fmnist_tfds", "build", f"--mirrors={real_data}"]
    command += ["--data_dir=data", f"--cache_dir={tmp_path / 'cache'}"]
    environ = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    for how in (r"prepared in \d+ s", "already prepared"):
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=600,
            check=True,
            env={**environ, "PYTHONPATH": str(REPO)},
        )
        first, second = done.stdout.splitlines()
        counts = "60,000 train, 10,000 test examples in data/fmnist_resilient/1.0.0"
        assert re.fullmatch(rf"fmnist_resilient/1\.0\.0: {how}: {counts}", first)
        assert second == "load it: tfds.load('fmnist_resilient', data_dir='data')"
        noise = [line for line in done.stderr.splitlines() if ": verified, from " not in line]
        assert noise == []


@pytest.mark.parametrize("width", [40, 80, 120])
def test_share_is_shown_however_narrow_the_terminal_is(width, monkeypatch):
    out = io.StringIO()
    console = rich_console.Console(file=out, width=width, force_terminal=True, no_color=True)
    monkeypatch.setattr(output, "_stderr", lambda: console)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with output.progress() as report:
        report.update("train-images-idx3-ubyte.gz", "https://a-mirror.example/", 13, 26)
        report._bars.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    lines = [line for line in re.split(r"[\r\n]", shown) if "%" in line]
    assert lines
    assert all(" 50%" in line and len(line) <= width and line.startswith("tr") for line in lines)


class Recorded:
    """What a tqdm bar is told."""

    def __init__(self, **options):
        self.total, self.initial, self.n = options["total"], 0, 0
        self.moved, self.closed = [], False

    def update(self, n):
        self.n += n
        self.moved.append(n)

    def close(self):
        self.closed = True


def test_bar_counts_all_files_and_starts_where_a_part_stands(monkeypatch):
    made = []

    def make(**options):
        made.append(Recorded(**options))
        return made[-1]

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.shown(make) as report:
        report.update("a", "https://x/", 700, 1000)  # 700 bytes lay here before
        report.update("a", "https://x/", 900, 1000)
        report.update("b", "https://x/", 0, 50)
        report.update("b", "https://x/", 50, 50)
    (bar,) = made
    assert (bar.total, bar.initial, bar.n) == (1050, 700, 950)
    assert sum(bar.moved) == 250
    assert bar.closed


def test_no_terminal_gets_no_bar(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with progress.shown(lambda **_: pytest.fail("a bar")) as report:
        assert isinstance(report, progress.Lines)
        report.update("a", "https://x/", 1, 2)
