"""Progress as lines in a log: now and then one a file, and all that a user should see."""

from __future__ import annotations

import logging

from fmnist_tfds.download import progress


def test_lines_come_once_an_interval_for_each_file(caplog):
    caplog.set_level(logging.INFO)
    now = [0.0]
    lines = progress.Lines(interval_s=10.0, clock=lambda: now[0])
    for moment in (0, 5, 10, 12, 19, 20):
        now[0] = float(moment)
        lines.update("a", "https://x/", 1000 * moment, 20_000)
    lines.update("b", "https://x/", 1, 2)
    assert [record.getMessage() for record in caplog.records] == [
        "a: 10,000 of 20,000 bytes from https://x/",
        "a: 20,000 of 20,000 bytes from https://x/",
    ]


def test_notes_are_warnings_and_a_file_that_is_here_is_told(caplog):
    caplog.set_level(logging.INFO)
    lines = progress.Lines()
    lines.note("100% of it failed")
    lines.done("a", "https://x/")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "100% of it failed"),
        ("INFO", "a: verified, from https://x/"),
    ]
