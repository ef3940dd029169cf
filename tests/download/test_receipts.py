"""The schema of receipt.json: what it refuses, and that the page for users names every field."""

from __future__ import annotations

import pathlib
import re

import pytest
import receipt_schema

from fmnist_tfds.download.cache import receipts

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "receipt.md"
GOOD = {
    "format": 1,
    "dataset": "small",
    "package": "fmnist_tfds 1",
    "files": {"a.gz": {"source": "cache", "gz_sha256": None, "failed_attempts": []}},
}


def test_a_receipt_of_the_schema_passes():
    receipt_schema.check(GOOD)


@pytest.mark.parametrize(
    "wrong",
    [
        {**GOOD, "time": "now"},
        {name: GOOD[name] for name in ("format", "dataset", "files")},
        {**GOOD, "format": 2},
        {**GOOD, "files": {"a.gz": {"gz": "canonical"}}},
        {**GOOD, "files": {"a.gz": {"gz_sha256": 7}}},
        {**GOOD, "files": {"a.gz": {"route": {"proxy": None}}}},
    ],
)
def test_a_receipt_of_another_form_is_told(wrong):
    with pytest.raises(AssertionError):
        receipt_schema.check(wrong)


def test_the_page_on_receipts_names_every_field_and_no_other():
    named = set()
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            named |= set(re.findall(r"`(\w+)`", line.split("|")[1]))
    assert named == {*receipts.Receipt.__annotations__, *receipts.FileRecord.__annotations__}
