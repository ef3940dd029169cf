"""The whole fault matrix: every situation ends as it must, in time, and leaves nothing wrong."""

from __future__ import annotations

import pathlib
import tempfile

import laboratory
import matrix
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.network_parts]

NAMES = [item.name for item in matrix.items()]


@pytest.fixture(scope="module")
def results():
    """All of them, four at a time: most of the time goes by in time-outs."""
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        lab = laboratory.Lab(folder)
        try:
            yield {result.name: result for result in matrix.run(lab, folder)}
        finally:
            lab.close()


@pytest.mark.parametrize("name", NAMES)
def test_situation_ends_as_it_must(name, results):
    result = results[name]
    if result.skipped:
        pytest.skip(result.skipped)
    wrong = {row.name: (row.found, *row.wrong) for row in result.rows if row.wrong}
    assert not wrong


def test_matrix_has_at_least_sixty_situations_with_names_of_their_own():
    assert len(NAMES) >= 60
    assert len(set(NAMES)) == len(NAMES)
