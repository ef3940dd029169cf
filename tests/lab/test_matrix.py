"""The fault matrix: every situation ends as it must, in time, and leaves nothing wrong.

Those that differ from others in a number only are left to scripts/fault_lab.py.
"""

from __future__ import annotations

import pathlib
import tempfile

import laboratory
import matrix
import pytest
import situations

pytestmark = [pytest.mark.slow, pytest.mark.network_parts]

ITEMS = matrix.items(complete=False)
NAMES = [item.name for item in ITEMS]


@pytest.fixture(scope="module")
def results():
    """All of them, six at a time: most of the time goes by in time-outs."""
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        lab = laboratory.Lab(folder)
        try:
            yield {result.name: result for result in matrix.run(lab, folder, ITEMS, jobs=6)}
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
    every = [item.name for item in matrix.items()]
    assert len(NAMES) >= 60
    assert len(set(every)) == len(every)
    assert {*every} - {*NAMES} == situations.ALIKE
