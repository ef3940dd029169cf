"""The benchmark's tables and chart; its measurements are made by hand, on a quiet machine."""

import json
import pathlib

import pytest

from fmnist_tfds.benchmark import measure

REPO = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def kept():
    """The run whose figures are in the repository."""
    return json.loads((REPO / "benchmarks" / "benchmark.json").read_text())


def test_page_shows_the_tables_of_the_run_that_is_kept(kept):
    page = (REPO / "BENCHMARKS.md").read_text(encoding="utf-8")
    assert measure.table(kept) in page


def test_absent_peers_are_named_and_missing_rows_are_not_made_up(kept):
    rows = {key: rate for key, rate in kept["warm"].items() if not key.startswith("grain")}
    table = measure.table({**kept, "warm": {**rows, "absent": ["grain"]}})
    assert table.endswith("Absent peers: grain.")
    assert "grain MapDataset" not in table


def test_chart_is_a_picture(kept, tmp_path):
    measure.chart(kept, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
